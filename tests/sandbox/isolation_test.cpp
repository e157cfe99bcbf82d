// A VM whose networks are closed: what stands on the server, and what happens where it can't.
#include "sandbox/cleanup.hpp"
#include "sandbox/isolation_probe.hpp"
#include "vm_on_node.hpp"

#include <boost/asio/ip/tcp.hpp>

#include <fstream>

namespace px::sandbox {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;

class ClosedVm : public VmOnNode {
 public:
  json::value get(const std::string& path) { return node_.call("GET", path).data(); }
  std::string card(std::uint32_t vmid) { return json::text_or(config(vmid), "net0"); }

  /// "group px123v0 net0", "out DROP fe80::/10 net0", for each rule of a VM.
  std::vector<std::string> rules(std::uint32_t vmid) {
    std::vector<std::string> out;
    const auto all = get(fmt::format("/nodes/proxmox/qemu/{}/firewall/rules", vmid));
    for (const auto& rule : all.as_array()) {
      std::string text = json::text_or(rule, "type") + " " + json::text_or(rule, "action");
      for (const auto* key : {"source", "dest", "iface"}) {
        if (const auto part = json::text_or(rule, key); !part.empty()) text += " " + part;
      }
      out.push_back(text);
    }
    return out;
  }
  std::size_t groups() { return get("/cluster/firewall/groups").as_array().size(); }
  void switch_firewall(bool on) {
    node_.call("PUT", "/cluster/firewall/options", on ? "enable=1" : "enable=0");
  }

  /// Prepares and brings one sample up, looks at it, and ends the run.
  void with_sample(const std::string& spec, std::function<void(std::uint32_t vmid)> look) {
    auto work = [](ClosedVm& test, std::string text,
                   std::function<void(std::uint32_t)> see) -> awaitable<void> {
      sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
      co_await run.prepare(text);
      const auto sandbox = co_await run.bring_up(text, "task", "sample");
      see(sandbox->vms().front()->vmid());
      co_await run.sweep(true);
    };
    px::testing::run(work(*this, spec, std::move(look)));
  }
  std::string error_of(const std::string& spec) {
    try {
      with_sample(spec, [](std::uint32_t) {});
    } catch (const Error& error) {
      return error.what();
    }
    return "went well";
  }
};

std::string spec_with(const std::string& more, const std::string& vm = "") {
  return fmt::format(
      R"({{{}"vms_config": [{{"vm_source_config": {{"built_in": "debian13-small"}}{}}}]}})", more,
      vm);
}

TEST_F(ClosedVm, isUnderTheRulesOfItsVnet) {
  with_sample(spec_with(""), [&](std::uint32_t vmid) {
    EXPECT_THAT(card(vmid), HasSubstr(",firewall=1"));
    EXPECT_THAT(rules(vmid), ElementsAre(MatchesRegex("group px[0-9]{3}v0 net0")));
    const auto options = get(fmt::format("/nodes/proxmox/qemu/{}/firewall/options", vmid));
    EXPECT_TRUE(json::flag_or(options, "enable", false));
    EXPECT_EQ(json::text_or(options, "policy_in"), "DROP");
    EXPECT_EQ(json::text_or(options, "policy_out"), "DROP");
    const auto all = get("/cluster/firewall/groups");
    ASSERT_EQ(all.as_array().size(), 10U) << "one for each set";
    for (const auto& group : all.as_array()) {
      EXPECT_THAT(json::text_or(group, "comment"), MatchesRegex("\\[inspect-run-[0-9a-f]{8}\\]"));
      const auto inside = get("/cluster/firewall/groups/" + json::text_at(group, "group"));
      EXPECT_EQ(inside.as_array().size(), 8U);
      EXPECT_EQ(json::text_or(inside.as_array().front(), "dport"), "67") << "the order is kept";
      EXPECT_EQ(json::text_or(inside.as_array().back(), "dest"), "0.0.0.0/0");
    }
  });
  EXPECT_EQ(groups(), 0U);
}

TEST_F(ClosedVm, ofADeadRunGoesWithItsGroups) {
  auto work = [](ClosedVm& test) -> awaitable<std::string> {
    sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
    co_await run.prepare(spec_with(""));
    co_return run.id().text;
  };
  // First, for the run chooses names that are free.
  node_.call("POST", "/cluster/firewall/groups", "group=px999v0&comment=of+somebody");
  const auto dead = px::testing::run(work(*this));
  ASSERT_EQ(groups(), 11U);
  px::testing::run(cleanup_from_environment(pool_, dead, environment()));
  EXPECT_EQ(groups(), 1U) << "the stranger's stays";
}

TEST_F(ClosedVm, isOpenWhereItsConfigurationSaysSo) {
  const std::string sdn =
      R"("sdn_config": {"use_pve_ipam_dnsnmasq": false, "isolation": "open",
         "vnet_configs": [{"alias": "lan"}]}, )";
  with_sample(spec_with(sdn), [&](std::uint32_t vmid) {
    EXPECT_THAT(card(vmid), Not(HasSubstr("firewall")));
    EXPECT_THAT(rules(vmid), IsEmpty());
    EXPECT_EQ(groups(), 0U);
  });
}

TEST_F(ClosedVm, runsInOpenNetworksWhereTheFirewallIsOff) {
  switch_firewall(false);
  with_sample(spec_with(""), [&](std::uint32_t vmid) {
    EXPECT_THAT(card(vmid), Not(HasSubstr("firewall")));
    EXPECT_EQ(groups(), 0U);
  });
}

TEST_F(ClosedVm, doesNotRunWithoutTheFirewallThatItAsksFor) {
  switch_firewall(false);
  EXPECT_THAT(error_of(spec_with(R"("verify_isolation": true, )")),
              HasSubstr("verify_isolation: the networks can't be closed: on 127.0.0.1 the "
                        "datacenter's firewall is off"));
  EXPECT_THAT(error_of(spec_with("", R"(, "firewall": true)")),
              HasSubstr("vms_config[0].firewall: the VM can't be isolated"));
  EXPECT_EQ(vnets(), 0U);
}

TEST_F(ClosedVm, amongStrangersHasRulesOfItsOwn) {
  node_.call("POST", "/cluster/sdn/zones", "zone=office&type=simple");
  node_.call("POST", "/cluster/sdn/vnets", "zone=office&vnet=office&alias=office");
  node_.call("POST", "/cluster/sdn/vnets/office/subnets",
             "type=subnet&subnet=10.5.0.0/24&gateway=10.5.0.1");
  node_.end_of_task(node_.call("PUT", "/cluster/sdn").text());
  const auto spec = spec_with(R"("sdn_config": null, )",
                              R"(, "firewall": true, "nics": [{"vnet_alias": "office"}])");
  with_sample(spec, [&](std::uint32_t vmid) {
    EXPECT_THAT(card(vmid), HasSubstr(",firewall=1"));
    const auto all = rules(vmid);
    EXPECT_THAT(
        all, ::testing::IsSupersetOf({"out DROP 10.5.0.1 net0", "in ACCEPT 10.5.0.0/24 net0",
                                      "out ACCEPT 10.5.0.0/24 net0", "out ACCEPT 0.0.0.0/0 net0"}));
  });
}

TEST_F(ClosedVm, keepsItsTemplatesCards) {
  make_template(100, "&net0=virtio=BC:24:11:00:00:09,bridge=vmbr0,firewall=0");
  const std::string spec = R"({"sdn_config": null, "vms_config": [{"firewall": true,
      "vm_source_config": {"existing_vm_template_tag": "victim"}}]})";
  with_sample(spec, [&](std::uint32_t vmid) {
    EXPECT_THAT(card(vmid), MatchesRegex("virtio=.*,bridge=vmbr0,firewall=1"));
    EXPECT_THAT(rules(vmid), ::testing::Contains("out ACCEPT 0.0.0.0/0 net0"));
  });
}

// --- verify_isolation ----------------------------------------------------------------------------

network::NetworkSet set_of(const std::string& egress, bool snat) {
  const auto plan = network::parse_plan(json::parse(
      fmt::format(R"({{"use_pve_ipam_dnsnmasq": false, "egress": {}, "vnet_configs": [{{"subnets":
                  [{{"cidr": "10.1.0.0/24", "gateway": "10.1.0.1", "snat": {}}}]}}]}})",
                  egress, snat),
      "the test"));
  return {plan, plan.key(), pve::ZoneId::parse("px001z"), {pve::VnetId::parse("px001v0")}};
}

std::vector<std::string> texts(const std::vector<Forbidden>& list) {
  std::vector<std::string> out;
  for (const auto& item : list) out.push_back(fmt::format("{}:{}", item.address, item.port));
  return out;
}

const std::vector<pve::nodes::NetworkInterface> interfaces{
    {"vmbr0", "bridge", {"10.9.0.2/24", "2001:db8::2/64"}}, {"lo", "loopback", {"127.0.0.1/8"}}};
const std::vector<pve::sdn::Subnet> others{
    {"z-10.2.0.0-24", pve::VnetId::parse("other"), "10.2.0.0/24", "10.2.0.1"}};

TEST(IsolationProbe, triesWhatTheServersListsName) {
  EXPECT_THAT(
      texts(forbidden_for(set_of("\"all\"", true), interfaces, others, 8006)),
      ElementsAre("10.1.0.1:8006", "10.1.0.1:22", "10.9.0.2:8006", "10.9.0.2:22",
                  "2001:db8::2:8006", "2001:db8::2:22", "10.2.0.1:8006", "169.254.169.254:80"));
}

TEST(IsolationProbe, triesTheInternetWhereItIsClosed) {
  for (const auto& set : {set_of("\"none\"", true), set_of("\"all\"", false)}) {
    EXPECT_THAT(texts(forbidden_for(set, {}, {}, 8006)), ::testing::Contains("1.1.1.1:443"));
  }
}

TEST(IsolationProbe, leavesOutWhatEgressNames) {
  const auto set = set_of(R"([{"cidr": "10.9.0.0/24"}, {"cidr": "1.1.1.1/32"}])", true);
  EXPECT_THAT(texts(forbidden_for(set, interfaces, {}, 8006)),
              ElementsAre("10.1.0.1:8006", "10.1.0.1:22", "2001:db8::2:8006", "2001:db8::2:22",
                          "169.254.169.254:80"));
}

TEST(IsolationProbe, findsTheBridgeByItsMacAddress) {
  constexpr std::string_view arp =
      "IP address       HW type     Flags       HW address            Mask     Device\n"
      "10.1.0.1         0x1         0x2         bc:24:11:00:00:01     *        eth0\n"
      "10.1.0.7         0x1         0x2         bc:24:11:00:00:07     *        eth0\n";
  EXPECT_THAT(texts(link_local_of(set_of("\"all\"", true), arp, 8006)),
              ElementsAre("fe80::be24:11ff:fe00:1%eth0:8006", "fe80::be24:11ff:fe00:1%eth0:22"));
  EXPECT_THAT(
      link_local_of(set_of("\"all\"", true), "10.1.0.1 0x1 0x0 00:00:00:00:00:00 * eth0\n", 8006),
      IsEmpty());
}

/// What the script prints on this machine. `with`: the only programs that it finds.
std::string probe(const std::string& targets, const std::vector<std::string>& with) {
  const px::testing::TemporaryDirectory directory;
  const auto write = [&](const char* name, std::string_view text) {
    std::ofstream{directory.path() / name} << text;
  };
  write("script", probe_script());
  write("targets", targets);
  for (const auto& program : with) {
    std::filesystem::create_symlink("/usr/bin/" + program, directory.path() / program);
  }
  const auto command =
      fmt::format("cd {0} && PATH={0} /bin/sh script < targets", directory.path().string());
  std::string out;
  FILE* pipe = ::popen(command.c_str(), "r");
  for (char buffer[256]; std::fgets(buffer, sizeof buffer, pipe) != nullptr;) out += buffer;
  ::pclose(pipe);
  return out;
}

TEST(IsolationProbe, hearsAnswersAndRefusals) {
  asio::io_context context;
  asio::ip::tcp::acceptor listening{context, {asio::ip::address_v4::loopback(), 0}};
  std::uint16_t closed = 0;
  {
    asio::ip::tcp::acceptor gone{context, {asio::ip::address_v4::loopback(), 0}};
    closed = gone.local_endpoint().port();
  }
  const auto open = listening.local_endpoint().port();
  const auto targets = fmt::format("127.0.0.1 {}\n127.0.0.1 {}\n", open, closed);
  const auto said = probe(targets, {"bash", "timeout"});
  EXPECT_THAT(said, HasSubstr(fmt::format("127.0.0.1 {} open\n", open)));
  EXPECT_THAT(said, HasSubstr(fmt::format("127.0.0.1 {} refused\n", closed)));
  EXPECT_EQ(probe(targets, {"bash"}), "") << "nothing is said without the programs for it";
}

TEST(IsolationProbe, namesWhatAnswers) {
  const std::vector<Forbidden> list{{"10.1.0.1", 8006, "its gateway"}, {"10.1.0.1", 22, "ssh"}};
  EXPECT_THAT(reached(list, "10.1.0.1 8006 refused\n"),
              ElementsAre("10.1.0.1 port 8006 (its gateway) is refused"));
  EXPECT_THAT(reached(list, ""), IsEmpty());
}

}  // namespace
}  // namespace px::sandbox
