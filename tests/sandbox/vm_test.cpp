#include "sandbox/cleanup.hpp"
#include "vm_on_node.hpp"

namespace px::sandbox {
namespace {

TEST_F(VmOnNode, isConfiguredByTheTemplateThatItWasReallyClonedFrom) {
  make_template(100, "");
  const std::string spec = R"({"sdn_config": null, "vms_config": [
      {"vm_source_config": {"existing_vm_template_tag": "victim"}, "nics": []}]})";
  auto work = [](VmOnNode& test, asio::thread_pool& pool, Environment environment, std::string text,
                 std::function<void()> replace) -> awaitable<void> {
    sandbox::Run run{co_await asio::this_coro::executor, pool, std::move(environment)};
    co_await run.prepare(text);
    replace();  // somebody bakes the template anew, with a network card
    const auto sandbox = co_await run.bring_up(text, "task", "sample");
    EXPECT_FALSE(test.config(sandbox->vms().front()->vmid()).contains("net0"));
    co_await sandbox->destroy();
  };
  px::testing::run(work(*this, pool_, environment(), spec, [&] {
    make_template(101, "&net0=virtio,bridge=vmbr0");
    finish(node_.call("DELETE", "/nodes/proxmox/qemu/100"));
  }));
}

TEST_F(VmOnNode, namesTheSnapshotsThereAreWhereOneIsMissingOrTaken) {
  auto work = [](asio::thread_pool& pool, Environment environment) -> awaitable<std::string> {
    sandbox::Run run{co_await asio::this_coro::executor, pool, std::move(environment)};
    const auto sandbox = co_await run.bring_up(R"({"sdn_config": null, "vms_config": [
        {"vm_source_config": {"built_in": "debian13-small"}, "nics": []}]})",
                                               "task", "sample");
    const auto& vm = sandbox->vms().front();
    co_await vm->create_snapshot("clean", "");
    std::string said;
    const auto note = [&](const Error& error) {
      EXPECT_EQ(error.kind, Errc::bad_input) << error.what();
      said += std::string{error.what()} + "\n";
    };
    try {
      co_await vm->restore_snapshot("clear");
    } catch (const Error& error) {
      note(error);
    }
    try {
      co_await vm->delete_snapshot("clear");
    } catch (const Error& error) {
      note(error);
    }
    try {
      co_await vm->create_snapshot("clean", "");
    } catch (const Error& error) {
      note(error);
    }
    co_await sandbox->destroy();
    co_return said;
  };
  EXPECT_EQ(px::testing::run(work(pool_, environment())),
            "snapshot: is \"clear\"; VM 100 (default) on node proxmox has clean\n"
            "snapshot: is \"clear\"; VM 100 (default) on node proxmox has clean\n"
            "snapshot: is \"clean\"; VM 100 (default) on node proxmox has clean already\n");
}

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

/// One VM in two VNets, one of them without a subnet, with a booked address.
const std::string routed = R"({"sdn_config": {"vnet_configs": [
    {"alias": "lan", "subnets": [{"cidr": "10.1.0.0/24", "gateway": "10.1.0.1", "snat": true,
      "dhcp_ranges": [{"start": "10.1.0.50", "end": "10.1.0.99"}]}]}, {"alias": "wire"}]},
  "vms_config": [{"vm_source_config": {"built_in": "debian13-small"}, "nic_controller": "e1000",
    "nics": [{"vnet_alias": "wire"},
             {"vnet_alias": "lan", "mac": "bc:24:11:00:00:01", "ipv4": "10.1.0.9"}]}]})";

TEST_F(VmOnNode, hasTheNetworkCardsAndTheAddressOfItsConfiguration) {
  auto work = [](VmOnNode& test) -> awaitable<void> {
    sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
    co_await run.prepare(routed);
    const auto sandbox = co_await run.bring_up(routed, "task", "sample");
    const auto& vm = sandbox->vms().front();
    const auto options = test.config(vm->vmid());
    EXPECT_THAT(json::text_or(options, "net0"),
                MatchesRegex("e1000=BC:24:11:..:..:..,bridge=px[0-9]{3}v1,firewall=1"));
    EXPECT_THAT(json::text_or(options, "net1"),
                MatchesRegex("e1000=BC:24:11:00:00:01,bridge=px[0-9]{3}v0,firewall=1"));
    EXPECT_EQ(test.booked("BC:24:11:00:00:01"), "10.1.0.9");
    EXPECT_EQ(vm->addresses().at("lan"), std::vector<std::string>{"10.1.0.9"});
    co_await sandbox->destroy();
    EXPECT_EQ(test.booked("BC:24:11:00:00:01"), "") << "it goes with the VM";
    EXPECT_EQ(test.vnets(), 2U) << "kept for the next sample";
    co_await run.sweep(true);
    EXPECT_EQ(test.vnets(), 0U);
  };
  px::testing::run(work(*this));
}

TEST_F(VmOnNode, isInANetworkOfItsOwnByDefault) {
  auto work = [](VmOnNode& test) -> awaitable<void> {
    const std::string spec =
        R"({"vms_config": [{"vm_source_config": {"built_in": "debian13-small"}}]})";
    sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
    co_await run.prepare(spec);
    const auto one = co_await run.bring_up(spec, "task", "1");
    const auto other = co_await run.bring_up(spec, "task", "2");
    const auto bridge = [&](const auto& sandbox) {
      const auto card = json::text_or(test.config(sandbox->vms().front()->vmid()), "net0");
      return card.substr(card.find("bridge="));
    };
    EXPECT_THAT(bridge(one), MatchesRegex("bridge=px[0-9]{3}v0,firewall=1"));
    EXPECT_NE(bridge(one), bridge(other));
    EXPECT_THAT(one->vms().front()->addresses().at("net0").at(0),
                MatchesRegex("192\\.168\\.[0-9]+\\.50"));
    co_await run.sweep(true);
    EXPECT_EQ(test.vnets(), 0U);
  };
  px::testing::run(work(*this));
}

TEST_F(VmOnNode, ofADeadRunGoesWithItsNetworks) {
  auto work = [](VmOnNode& test) -> awaitable<std::string> {
    sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
    co_await run.prepare(routed);
    co_await run.bring_up(routed, "task", "sample");
    co_return run.id().text;
  };
  const auto dead = px::testing::run(work(*this));
  ASSERT_EQ(vnets(), 2U);
  const auto removed = px::testing::run(cleanup_from_environment(pool_, dead, environment()));
  EXPECT_THAT(removed, ::testing::Contains(MatchesRegex("removed zone px[0-9]{3}z")));
  EXPECT_EQ(vnets(), 0U);
}

TEST_F(VmOnNode, joinsAVnetOfTheServerByItsAlias) {
  node_.call("POST", "/cluster/sdn/zones", "zone=office&type=simple");
  node_.call("POST", "/cluster/sdn/vnets", "zone=office&vnet=office&alias=the+office");
  node_.end_of_task(node_.call("PUT", "/cluster/sdn").text());
  const auto spec = [](const std::string& alias) {
    return R"({"sdn_config": null, "vms_config": [{"vm_source_config":
        {"built_in": "debian13-small"}, "nics": [{"vnet_alias": ")" +
           alias + R"("}]}]})";
  };
  auto work = [](VmOnNode& test, std::string good, std::string wrong) -> awaitable<void> {
    sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
    std::string said;
    try {
      co_await run.prepare(wrong);
    } catch (const Error& error) {
      said = error.what();
    }
    EXPECT_THAT(said, HasSubstr("vms_config[0].nics[0].vnet_alias: is \"ofice\"; the VNets of "
                                "sdn_config and of 127.0.0.1 are: the office"));
    co_await run.prepare(good);
    const auto sandbox = co_await run.bring_up(good, "task", "sample");
    EXPECT_THAT(json::text_or(test.config(sandbox->vms().front()->vmid()), "net0"),
                HasSubstr("bridge=office"));
    co_await run.sweep(true);
    EXPECT_EQ(test.vnets(), 1U) << "not ours";
  };
  px::testing::run(work(*this, spec("the office"), spec("ofice")));
}

std::string with_network_options(const std::string& zone, const std::string& vnet,
                                 const std::string& subnet) {
  return fmt::format(R"({{"sdn_config": {{"extra_proxmox_native_config": {{{}}}, "vnet_configs": [
      {{"alias": "lan", "extra_proxmox_native_config": {{{}}}, "subnets": [
        {{"cidr": "10.1.0.0/24", "gateway": "10.1.0.1", "snat": true,
          "extra_proxmox_native_config": {{{}}},
          "dhcp_ranges": [{{"start": "10.1.0.50", "end": "10.1.0.99"}}]}}]}}]}},
      "vms_config": [{{"vm_source_config": {{"built_in": "debian13-small"}}}}]}})",
                     zone, vnet, subnet);
}

TEST_F(VmOnNode, isInNetworksWithTheServersOptionsOfTheConfiguration) {
  auto work = [](VmOnNode& test) -> awaitable<void> {
    sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
    co_await run.prepare(with_network_options(R"("mtu": 1400)", R"("isolate-ports": true)",
                                              R"("dhcp-dns-server": "10.1.0.53")"));
    const auto zones = test.node_.call("GET", "/cluster/sdn/zones").data();
    EXPECT_EQ(json::number_at(zones.at(0), "mtu"), 1400);
    const auto all = test.node_.call("GET", "/cluster/sdn/vnets").data();
    const auto& vnet = all.at(0);
    EXPECT_EQ(json::number_at(vnet, "isolate-ports"), 1);
    const auto path = fmt::format("/cluster/sdn/vnets/{}/subnets", json::text_at(vnet, "vnet"));
    const auto subnets = test.node_.call("GET", path).data();
    EXPECT_EQ(json::text_at(subnets.at(0), "dhcp-dns-server"), "10.1.0.53");
    co_await run.sweep(true);
  };
  px::testing::run(work(*this));
}

TEST_F(VmOnNode, isRefusedWithNetworkOptionsThatTheServerDoesNotKnow) {
  auto refusal = [](VmOnNode& test, std::string spec) -> awaitable<std::string> {
    sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
    try {
      co_await run.prepare(spec);
    } catch (const Error& error) {
      co_return error.said;
    }
    co_return "accepted";
  };
  const std::string option = ".extra_proxmox_native_config.";
  EXPECT_THAT(px::testing::run(refusal(*this, with_network_options(R"("mtuu": 1)", "", ""))),
              HasSubstr("sdn_config" + option + "mtuu: is \"1\"; the server says: "));
  EXPECT_THAT(px::testing::run(refusal(*this, with_network_options("", R"("mtu": 1)", ""))),
              HasSubstr("vnet_configs[0]" + option + "mtu: is \"1\"; the server says: "));
  EXPECT_THAT(px::testing::run(refusal(*this, with_network_options("", "", R"("x": 1)"))),
              HasSubstr("subnets[0]" + option + "x: is \"1\"; the server says: "));
  EXPECT_EQ(vnets(), 0U);
}

TEST_F(VmOnNode, costsFewRequestsInItsNetworks) {
  auto work = [](VmOnNode& test) -> awaitable<void> {
    const std::string spec =
        R"({"vms_config": [{"vm_source_config": {"built_in": "debian13-small"}}]})";
    sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
    co_await run.prepare(spec);
    test.node_.send("POST", "/_control/reset", {});
    const auto sandbox = co_await run.bring_up(spec, "task", "1");
    EXPECT_LE(test.node_.requests_without_polls(), 14);
    co_await run.sweep(true);
  };
  px::testing::run(work(*this));
}

TEST_F(VmOnNode, ofABuiltInHasTheCpuOfItsNode) {
  auto work = [](asio::thread_pool& pool, Environment environment) -> awaitable<void> {
    sandbox::Run run{co_await asio::this_coro::executor, pool, std::move(environment)};
    co_await run.prepare(R"({"sdn_config": null, "vms_config": [
        {"vm_source_config": {"built_in": "debian13-small"}, "nics": []}]})");
  };
  px::testing::run(work(pool_, environment()));
  const auto all = node_.call("GET", "/nodes/proxmox/qemu").data();
  const auto vmid = json::number_at(all.as_array().at(0), "vmid");
  const auto options = config(static_cast<std::uint32_t>(vmid));
  EXPECT_EQ(json::text_or(options, "cpu"), "host");
  EXPECT_FALSE(options.contains("kvm"));
}

}  // namespace
}  // namespace px::sandbox
