// A VM's seed on its way to the VM, on a node with simulated machines.
#include "image/inventory.hpp"
#include "vm_on_node.hpp"

namespace px::sandbox {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

const std::string upload_of_any = "POST /nodes/{node}/storage/{storage}/upload";

/// The second VM has a seed; nobody waits for its guest, which only pretends.
std::string two_vms(const std::string& source, const std::string& init) {
  return fmt::format(R"({{"sdn_config": null, "vms_config": [
      {{"vm_source_config": {{"built_in": "debian13-small"}}, "nics": []}},
      {{"vm_source_config": {{{}}}, "nics": [], "name": "web", "is_sandbox": false{}}}]}})",
                     source, init);
}
const std::string built_in = R"("built_in": "debian13-small")";
const std::string init = R"(, "cloud_init": {"run": ["true"]})";

class CloudInitOnNode : public VmOnNode {
 public:
  /// What `look` sees of the second VM's configuration while it lives.
  json::object second_of(const std::string& spec, int samples = 1) {
    auto work = [](CloudInitOnNode& test, std::string text, int count) -> awaitable<json::object> {
      sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
      co_await run.prepare(text);
      json::object options;
      test.node_.send("POST", "/_control/reset", {});
      for (int i = 0; i < count; ++i) {
        const auto sandbox = co_await run.bring_up(text, "task", "sample");
        options = test.config(sandbox->vms().at(1)->vmid());
      }
      co_await run.sweep(true);
      co_return options;
    };
    return px::testing::run(work(*this, spec, samples));
  }
  std::int64_t uploads() {
    const auto counted = node_.send("GET", "/_control/requests", {}).data();
    return json::number_or(counted.at("requests"), upload_of_any, 0);
  }
  std::vector<std::string> seeds() {
    std::vector<std::string> out;
    const auto all =
        node_.call("GET", "/nodes/proxmox/storage/local/content", "content=iso").data();
    for (const auto& volume : all.as_array()) out.push_back(json::text_at(volume, "volid"));
    return out;
  }
};

TEST_F(CloudInitOnNode, isADriveOfTheVmThatCostsASampleNothing) {
  const auto options = second_of(two_vms(built_in, init), 3);
  EXPECT_EQ(uploads(), 0) << "after the task has begun";
  ASSERT_EQ(seeds().size(), 1U);
  EXPECT_THAT(seeds().front(), MatchesRegex("local:iso/inspect-seed-[0-9a-f]{16}\\.iso"));
  EXPECT_THAT(json::text_at(options, "scsi1"), HasSubstr(seeds().front() + ",media=cdrom"));
}

TEST_F(CloudInitOnNode, isUploadedAnewWhenItIsGone) {
  const auto spec = two_vms(built_in, init);
  auto work = [](CloudInitOnNode& test, std::string text) -> awaitable<void> {
    sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
    co_await run.prepare(text);
    test.finish(test.node_.call(
        "DELETE", "/nodes/proxmox/storage/local/content/" + percent_encode(test.seeds().at(0))));
    co_await run.bring_up(text, "task", "sample");
    EXPECT_EQ(test.seeds().size(), 1U);
    co_await run.sweep(true);
  };
  px::testing::run(work(*this, spec));
}

TEST_F(CloudInitOnNode, isKnownToBeInUseAsLongAsTheVmIsThere) {
  auto work = [](CloudInitOnNode& test, std::string text) -> awaitable<void> {
    const auto executor = co_await asio::this_coro::executor;
    sandbox::Run run{executor, test.pool_, test.environment()};
    co_await run.prepare(text);
    const auto sandbox = co_await run.bring_up(text, "task", "sample");
    pve::Client client{executor, test.pool_, read_instances(test.environment()).front()};
    const auto node = pve::NodeName::parse("proxmox");
    const auto now = co_await image::take_inventory(client, node);
    EXPECT_EQ(now.media.at(0).users,
              std::vector{pve::Vmid::from_number(sandbox->vms().at(1)->vmid())});
    co_await run.sweep(true);
    EXPECT_TRUE((co_await image::take_inventory(client, node)).media.at(0).users.empty());
  };
  px::testing::run(work(*this, two_vms(built_in, init)));
}

TEST_F(CloudInitOnNode, takesThePlaceOfTheServersOwn) {
  make_template(100, "&name=base&scsi0=local-lvm:1&ide2=local:cloudinit&ciuser=alice");
  const std::string tagged = R"("existing_vm_template_tag": "victim")";
  EXPECT_THAT(json::text_at(second_of(two_vms(tagged, init)), "ide2"), HasSubstr("inspect-seed-"));
  EXPECT_THAT(json::text_at(second_of(two_vms(tagged, "")), "ide2"), HasSubstr("-cloudinit"));
}

TEST_F(CloudInitOnNode, ofTheServersOwnHasTheNameOfTheVm) {
  make_template(100, "&name=base&scsi0=local-lvm:1&ide2=local:cloudinit");
  auto work = [](CloudInitOnNode& test, std::string text) -> awaitable<std::string> {
    sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
    co_await run.prepare(text);
    const auto sandbox = co_await run.bring_up(text, "task", "sample");
    const auto path =
        fmt::format("/nodes/proxmox/qemu/{}/cloudinit/dump", sandbox->vms().at(1)->vmid());
    auto user_data = test.node_.call("GET", path, "type=user").text();
    co_await run.sweep(true);
    co_return user_data;
  };
  EXPECT_THAT(px::testing::run(work(*this, two_vms(R"("existing_vm_template_tag": "victim")", ""))),
              HasSubstr("hostname: web\n"));
}

}  // namespace
}  // namespace px::sandbox
