// From what a sample names to the template that its VM is cloned from, on a node with simulated
// machines.
#include "http_files.hpp"
#include "image/claim.hpp"
#include "image/inventory.hpp"
#include "support/bytes.hpp"
#include "support/process.hpp"
#include "vm_on_node.hpp"

#include <fstream>

namespace px::sandbox {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::SizeIs;

class TemplateOnNode : public VmOnNode {
 public:
  /// With a place for signs of life.
  Environment environment() {
    auto variables = node_.variables();
    variables["XDG_STATE_HOME"] = state_.path();
    return px::testing::environment_of(std::move(variables));
  }
  std::filesystem::path write(const std::string& name, const std::string& bytes) {
    const auto path = folder_.path() / name;
    std::ofstream{path, std::ios::binary} << bytes;
    return path;
  }
  static std::string disk_spec(const std::filesystem::path& disk, const std::string& more = "") {
    return fmt::format(R"({{"sdn_config": null, "vms_config": [
        {{"vm_source_config": {{"disk": "{}"}}, "nics": []{}}}]}})",
                       disk.string(), more);
  }
  void prepare(const std::string& spec) {
    auto work = [](asio::thread_pool& pool, Environment environment,
                   std::string text) -> awaitable<void> {
      sandbox::Run run{co_await asio::this_coro::executor, pool, std::move(environment)};
      co_await run.prepare(text);
      co_await run.sweep(true);
    };
    px::testing::run(work(pool_, environment(), spec));
  }
  std::string refusal_of(const std::string& spec) {
    try {
      prepare(spec);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }
  /// The configuration of the one VM of a sample while it lives.
  json::object while_it_lives(const std::string& spec) {
    auto work = [](TemplateOnNode& test, std::string text) -> awaitable<json::object> {
      sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
      co_await run.prepare(text);
      const auto sandbox = co_await run.bring_up(text, "task", "sample");
      auto options = test.config(sandbox->vms().front()->vmid());
      co_await run.sweep(true);
      co_return options;
    };
    return px::testing::run(work(*this, spec));
  }
  std::vector<json::object> templates() {
    std::vector<json::object> out;
    const auto all = node_.call("GET", "/nodes/proxmox/qemu").data();
    for (const auto& vm : all.as_array()) {
      if (!json::flag_or(vm, "template", false)) continue;
      out.push_back(config(static_cast<std::uint32_t>(json::number_at(vm, "vmid"))));
    }
    return out;
  }
  std::size_t vms() { return node_.call("GET", "/nodes/proxmox/qemu").data().as_array().size(); }
  std::int64_t requests(const std::string& route) {
    const auto counted = node_.send("GET", "/_control/requests", {}).data();
    return json::number_or(counted.at("requests"), route, 0);
  }
  std::size_t uploads_left() {
    return node_.call("GET", "/nodes/proxmox/storage/local/content", "content=import")
        .data()
        .as_array()
        .size();
  }

  px::testing::TemporaryDirectory folder_;
  px::testing::TemporaryDirectory state_;
};

const std::string upload_route = "POST /nodes/{node}/storage/{storage}/upload";

TEST_F(TemplateOnNode, isToldApartByContentNotByNameOrSize) {
  prepare(disk_spec(write("a.raw", std::string(1024, 'a'))));
  prepare(disk_spec(write("b.raw", std::string(1024, 'a'))));
  EXPECT_THAT(templates(), SizeIs(1)) << "other name, same content";
  prepare(disk_spec(write("a.raw", std::string(1024, 'c'))));
  EXPECT_THAT(templates(), SizeIs(2)) << "same name and size, other content";
  prepare(disk_spec(write("a.raw", std::string(1024, 'c')), R"(, "disk_controller": "ide")"));
  EXPECT_THAT(templates(), SizeIs(3)) << "same content, other controller";
  EXPECT_EQ(uploads_left(), 0U);
}

TEST_F(TemplateOnNode, ofWhatIsKnownCostsNoUpload) {
  const auto disk = write("a.raw", std::string(1024, 'a'));
  prepare(disk_spec(disk));
  node_.send("POST", "/_control/reset", {});
  prepare(disk_spec(disk));
  EXPECT_EQ(requests(upload_route), 0);
}

TEST_F(TemplateOnNode, isMadeOnceThoughTwentySamplesOfFourRunsNeedItAtOnce) {
  const auto disk = write("a.raw", std::string(1 << 20, 'a'));
  auto one = [](TemplateOnNode& test, std::string text, bool& ended) -> awaitable<void> {
    sandbox::Run run{co_await asio::this_coro::executor, test.pool_, test.environment()};
    co_await run.prepare(text);
    std::vector<awaitable<void>> samples;
    auto sample = [](sandbox::Run& of, std::string what) -> awaitable<void> {
      co_await of.bring_up(what, "task", "sample");
    };
    for (int i = 0; i < 5; ++i) samples.push_back(sample(run, text));
    co_await all(std::move(samples));
    co_await run.sweep(true);
    ended = true;
  };
  auto four = [&](bool& ended) -> awaitable<void> {
    std::vector<awaitable<void>> runs;
    std::array<bool, 4> each{};
    for (auto& flag : each) runs.push_back(one(*this, disk_spec(disk), flag));
    co_await all(std::move(runs));
    ended = std::ranges::all_of(each, std::identity{});
  };
  bool ended = false;
  px::testing::run(four(ended));
  EXPECT_TRUE(ended);
  EXPECT_EQ(requests(upload_route), 1);
  EXPECT_THAT(templates(), SizeIs(1));
  EXPECT_EQ(vms(), 1U);
}

/// As a process leaves it that is killed while it makes a template: the VM, half of its disks; and
/// running, as cloud images do once.
TEST_F(TemplateOnNode, isTakenOverFromADeadMaker) {
  const auto disk = write("a.raw", std::string(1024, 'a'));
  prepare(disk_spec(disk));
  const auto made = templates().front();
  const auto vmid = node_.call("GET", "/nodes/proxmox/qemu").data().as_array().front();
  const auto id = json::number_at(vmid, "vmid");
  finish(node_.call("DELETE", fmt::format("/nodes/proxmox/qemu/{}", id)));
  const std::string dead = "0badc0de";
  {
    const auto runs = state_.path() / "proxmox-sandbox/runs";
    std::filesystem::create_directories(runs);
    std::ofstream{runs / dead};  // nobody holds its lock
  }
  finish(node_.call("POST", "/nodes/proxmox/qemu",
                    fmt::format("vmid={}&tags={}&scsi0=local-lvm:1&description=inspect-run%3A+{}%0A"
                                "inspect-making%3A+0123456789abcdef+3%0A",
                                id, percent_encode(json::text_at(made, "tags")), dead)));
  finish(node_.call("POST", fmt::format("/nodes/proxmox/qemu/{}/status/start", id)));
  prepare(disk_spec(disk));
  ASSERT_THAT(templates(), SizeIs(1));
  EXPECT_THAT(json::text_at(templates().front(), "scsi0"), HasSubstr("base-"));
  EXPECT_FALSE(templates().front().contains("unused0"));
  EXPECT_EQ(vms(), 1U);
}

TEST_F(TemplateOnNode, leavesNothingWhenItsMakingFails) {
  node_.send("POST", "/_control/faults", {{"Content-Type", "application/x-www-form-urlencoded"}},
             "action=answer&status=500&message=no+space&pattern=POST+.*/config&nth=1");
  EXPECT_THAT(refusal_of(disk_spec(write("a.raw", std::string(1024, 'a')))), HasSubstr("no space"));
  EXPECT_EQ(vms(), 0U);
  EXPECT_EQ(uploads_left(), 0U);
}

TEST_F(TemplateOnNode, ofTheExistingProviderIsUsedWhereItIsTheOnlyOne) {
  finish(node_.call("POST", "/nodes/proxmox/qemu", "vmid=901&agent=1&tags=builtin-debian13-small"));
  finish(node_.call("POST", "/nodes/proxmox/qemu/901/template"));
  node_.send("POST", "/_control/reset", {});
  prepare(R"({"sdn_config": null, "vms_config": [
      {"vm_source_config": {"built_in": "debian13-small"}, "nics": []}]})");
  EXPECT_EQ(requests(upload_route), 0);
}

// --- of the web ----------------------------------------------------------------------------------

std::string web_spec(const std::string& kind, const std::string& url, const std::string& sum) {
  return fmt::format(R"({{"sdn_config": null, "vms_config": [
      {{"vm_source_config": {{"{}": "{}", "checksum": {}}}, "nics": []}}]}})",
                     kind, url, sum.empty() ? "null" : '"' + sum + '"');
}

class TemplateOfTheWeb : public TemplateOnNode {
 public:
  TemplateOfTheWeb() { ::setenv("XDG_CACHE_HOME", (folder_.path() / "cache").c_str(), 1); }
  static std::string sum_of(const std::string& bytes) { return "sha256:" + sha256_hex(bytes); }

  const std::string disk_ = std::string(2048, 'a');
};

const std::string download_route = "POST /nodes/{node}/storage/{storage}/download-url";

TEST_F(TemplateOfTheWeb, isDownloadedByTheServer) {
  px::testing::HttpFiles web{{{"/a.img", {.body = disk_, .ranges = true}}}};
  prepare(web_spec("disk", web.url("/a.img"), sum_of(disk_)));
  EXPECT_EQ(requests(download_route), 1);
  EXPECT_EQ(requests(upload_route), 0);
  EXPECT_EQ(uploads_left(), 0U);
  ASSERT_THAT(templates(), SizeIs(1));
  EXPECT_THAT(json::text_at(templates().front(), "scsi0"), HasSubstr("base-"));
  prepare(disk_spec(write("other.raw", disk_)));
  EXPECT_THAT(templates(), SizeIs(1)) << "the same content from here";
}

TEST_F(TemplateOfTheWeb, comesThroughThisMachineWhereTheServerCant) {
  node_.send("POST", "/_control/faults", {{"Content-Type", "application/x-www-form-urlencoded"}},
             "action=answer&status=403&message=no+way&pattern=POST+.*/download-url&nth=1");
  px::testing::HttpFiles web{{{"/a.img", {.body = disk_, .ranges = true}}}};
  prepare(web_spec("disk", web.url("/a.img"), sum_of(disk_)));
  EXPECT_EQ(requests(upload_route), 1);
  EXPECT_THAT(templates(), SizeIs(1));
}

TEST_F(TemplateOfTheWeb, comesThroughThisMachineWithoutAChecksumOrParts) {
  px::testing::HttpFiles web{
      {{"/a.img", {.body = disk_, .ranges = true}}, {"/b.img", {.body = disk_}}}};
  prepare(web_spec("disk", web.url("/a.img"), ""));
  prepare(web_spec("disk", web.url("/b.img"), sum_of(disk_)));
  EXPECT_EQ(requests(download_route), 0);
  EXPECT_EQ(requests(upload_route), 1);
  EXPECT_THAT(templates(), SizeIs(1));
}

TEST_F(TemplateOfTheWeb, thatHasAnotherSumIsRefusedAndLeavesNothing) {
  px::testing::HttpFiles web{
      {{"/a.img", {.body = disk_, .ranges = true}}, {"/b.img", {.body = disk_}}}};
  for (const auto* path : {"/a.img", "/b.img"}) {
    const auto said = refusal_of(web_spec("disk", web.url(path), sum_of("b")));
    EXPECT_THAT(said, HasSubstr(sha256_hex(disk_))) << "the one seen";
    EXPECT_THAT(said, HasSubstr(sha256_hex("b")));
  }
  EXPECT_EQ(vms(), 0U);
  EXPECT_EQ(uploads_left(), 0U);
}

TEST_F(TemplateOfTheWeb, thatIsNotThereIsOneClearError) {
  px::testing::HttpFiles web{{{"/login", {.body = "<html>", .ranges = true}}}};
  EXPECT_THAT(refusal_of(web_spec("ova", web.url("/box.ova"), sum_of("b"))),
              HasSubstr("/box.ova: the server answers 404"));
  EXPECT_THAT(refusal_of(web_spec("disk", web.url("/login"), sum_of("b"))),
              HasSubstr("/login: it leads to a web page"));
  EXPECT_THAT(refusal_of(web_spec("ova", web.url("/box.ovf"), "")), HasSubstr("one file, an .ova"));
  EXPECT_EQ(vms(), 0U);
}

// --- of an ISO image -----------------------------------------------------------------------------

class IsoOnNode : public TemplateOnNode {
 public:
  /// Nothing but what tells that it is one.
  std::filesystem::path iso(char content = 'a') {
    std::string bytes(40'960, content);
    bytes.replace(16 * 2048, 6,
                  "\x01"
                  "CD001");
    return write("live.iso", bytes);
  }
  static std::string spec(const std::string& iso, const std::string& more = "") {
    return fmt::format(R"({{"sdn_config": null, "vms_config": [
        {{"vm_source_config": {{"iso": "{}"}}, "nics": []{}}}]}})",
                       iso, more);
  }
};

TEST_F(IsoOnNode, isWhatTheVmBootsFromBeforeAnEmptyDisk) {
  const auto options = while_it_lives(spec(iso()));
  EXPECT_THAT(json::text_at(options, "ide2"),
              MatchesRegex("local:iso/inspect-iso-[0-9a-f]{16}\\.iso,media=cdrom.*"));
  EXPECT_THAT(json::text_at(options, "scsi0"), HasSubstr("size=32G"));
  EXPECT_THAT(json::text_at(options, "boot"), ::testing::StartsWith("order=ide2;scsi0"));
  const auto small = while_it_lives(spec(iso(), R"(, "disk_gb": 4, "disk_controller": "ide")"));
  EXPECT_THAT(json::text_at(small, "ide0"), HasSubstr("size=4G"));
  EXPECT_EQ(requests(upload_route), 1) << "the same image";
  prepare(spec(iso('b')));
  EXPECT_EQ(requests(upload_route), 2) << "the same name, another image";
}

TEST_F(IsoOnNode, mayLieOnTheServer) {
  prepare(spec(iso()));
  const auto volume = json::text_at(
      node_.call("GET", "/nodes/proxmox/storage/local/content", "content=iso").data().at(0),
      "volid");
  const auto options = while_it_lives(spec(volume));
  EXPECT_THAT(json::text_at(options, "ide2"), HasSubstr(volume));
  EXPECT_EQ(requests(upload_route), 1);
  EXPECT_THAT(refusal_of(spec("local:iso/none.iso")), HasSubstr(volume)) << "what there is";
}

TEST_F(IsoOnNode, thatIsNoneIsRefusedBeforeAnythingIsMade) {
  EXPECT_THAT(refusal_of(spec(write("page.iso", std::string(40'960, ' ')))),
              HasSubstr("page.iso\"; it is no ISO 9660 or UDF image"));
  EXPECT_THAT(refusal_of(spec(write("short.iso", "CD001"))), HasSubstr("it is no ISO 9660"));
  EXPECT_EQ(vms(), 0U);
}

TEST_F(IsoOnNode, goesWithPruneWhenNoVmHasIt) {
  prepare(spec(iso()));
  const auto all = [this] {
    auto look = [](TemplateOnNode& test) -> awaitable<image::Inventory> {
      pve::Client client{co_await asio::this_coro::executor, test.pool_,
                         read_instances(test.environment()).front()};
      co_return co_await image::take_inventory(client, pve::NodeName::parse("proxmox"));
    };
    return px::testing::run(look(*this));
  };
  ASSERT_THAT(all().media, SizeIs(1));
  EXPECT_THAT(all().media.front().users, SizeIs(1)) << "the template";
  const auto vmid =
      json::number_at(node_.call("GET", "/nodes/proxmox/qemu").data().as_array().front(), "vmid");
  finish(node_.call("DELETE", fmt::format("/nodes/proxmox/qemu/{}", vmid)));
  EXPECT_THAT(all().media.front().users, IsEmpty());
}

constexpr auto handmade = PX_SOURCE_DIR "/tests/image/ovf/handmade.ovf";

class OvaOnNode : public TemplateOnNode {
 public:
  /// `networks`: each of a card.
  std::filesystem::path ova(const std::vector<std::string>& networks = {}) {
    write("disk.qcow2", "");
    const auto disk = folder_.path() / "disk.qcow2";
    EXPECT_EQ(run_tool({"qemu-img", "create", "-q", "-f", "qcow2", disk, "1G"}).exit_code, 0);
    std::ifstream file{handmade};
    std::string text{std::istreambuf_iterator<char>{file}, {}};
    std::string cards;
    for (const auto& name : networks) {
      cards += fmt::format(
          "<Item><rasd:InstanceID>{}</rasd:InstanceID><rasd:ResourceType>10</rasd:ResourceType>"
          "<rasd:Connection>{}</rasd:Connection></Item>",
          cards.size() + 100, name);
    }
    const std::string card = "<Item><rasd:InstanceID>4";
    const auto at = text.find(card);
    EXPECT_NE(at, text.npos);
    const auto end = text.find("</Item>", at) + 7;
    if (!networks.empty()) text.replace(at, end - at, cards);
    write("box.ovf", text);
    const auto path = folder_.path() / "box.ova";
    EXPECT_EQ(
        run_tool({"tar", "-C", folder_.path(), "-cf", path, "box.ovf", "disk.qcow2"}).exit_code, 0);
    return path;
  }
  static std::string spec(const std::filesystem::path& file, const std::string& more = "") {
    return fmt::format(R"({{"sdn_config": null, "vms_config": [
        {{"vm_source_config": {{"ova": "{}"}}{}}}]}})",
                       file.string(), more);
  }
};

TEST_F(OvaOnNode, saysWhatTheConfigurationLeavesOut) {
  const auto options = while_it_lives(spec(ova()));
  EXPECT_EQ(json::text_at(options, "memory"), "512");
  EXPECT_EQ(json::number_at(options, "cores"), 1);
  EXPECT_THAT(json::text_at(options, "tags"),
              MatchesRegex("inspect;inspect-run-[0-9a-f]+;inspect-src-[0-9a-f]+;ova-box-[0-9]+"));
}

TEST_F(OvaOnNode, ofTheWebIsReadByItsHeadersAndDownloadedByTheServer) {
  ::setenv("XDG_CACHE_HOME", (folder_.path() / "cache").c_str(), 1);
  std::ifstream file{ova(), std::ios::binary};
  const std::string bytes{std::istreambuf_iterator<char>{file}, {}};
  px::testing::HttpFiles web{{{"/box.ova", {.body = bytes, .ranges = true}}}};
  const auto options = while_it_lives(fmt::format(
      R"({{"vms_config": [{{"vm_source_config": {{"ova": "{}", "checksum": "{}"}}}}]}})",
      web.url("/box.ova"), sha256_hex(bytes)));
  EXPECT_EQ(json::text_at(options, "memory"), "512");
  EXPECT_EQ(requests(download_route), 1);
  EXPECT_EQ(requests(upload_route), 0);
  EXPECT_EQ(uploads_left(), 0U);
  EXPECT_EQ(json::number_at(options, "cores"), 1);
}

TEST_F(OvaOnNode, hasItsCardsInTheVnetsOfItsNetworksNamesAndElseOneInTheFirst) {
  const auto in_vnets = [this](const std::vector<std::string>& networks) {
    return while_it_lives(fmt::format(
        R"({{"sdn_config": {{"use_pve_ipam_dnsnmasq": false,
                            "vnet_configs": [{{"alias": "wan"}}, {{"alias": "lan"}}]}},
            "vms_config": [{{"vm_source_config": {{"ova": "{}"}}}}]}})",
        ova(networks).string()));
  };
  const auto named = in_vnets({"lan", "wan", "lan"});
  EXPECT_THAT(json::text_at(named, "net0"), HasSubstr("v1"));
  EXPECT_THAT(json::text_at(named, "net1"), HasSubstr("v0"));
  EXPECT_THAT(json::text_at(named, "net2"), HasSubstr("v1"));
  for (const auto& networks : {std::vector<std::string>{"lan", "VM Network"}, {"lan"}}) {
    const auto first = in_vnets(networks);
    EXPECT_THAT(json::text_at(first, "net0"), HasSubstr("v0"));
    EXPECT_FALSE(first.contains("net1"));
  }
}

TEST_F(OvaOnNode, isOverruledByTheConfiguration) {
  const auto options = while_it_lives(spec(ova(), R"(, "ram_mb": 1024, "disk_controller": "ide")"));
  EXPECT_EQ(json::text_at(options, "memory"), "1024");
  EXPECT_EQ(json::number_at(options, "cores"), 1);
  EXPECT_TRUE(options.contains("ide0"));
  EXPECT_FALSE(options.contains("scsi0"));
}

TEST_F(OvaOnNode, thatIsBrokenIsRefusedBeforeAnythingIsMade) {
  EXPECT_THAT(refusal_of(spec(folder_.path() / "none.ova")),
              HasSubstr("vms_config[0].vm_source_config.ova: is \""));
  EXPECT_THAT(refusal_of(spec(write("bad.ova", "no tar"))), HasSubstr("bad.ova"));
  EXPECT_EQ(vms(), 0U);
}

TEST_F(TemplateOnNode, takesTheServersOptionsOfTheConfiguration) {
  const auto disk = write("a.raw", std::string(1024, 'a'));
  const auto options = while_it_lives(disk_spec(
      disk, R"(, "extra_proxmox_native_config": {"balloon": 0, "vga": "qxl", "tablet": false})"));
  EXPECT_EQ(json::number_at(options, "balloon"), 0);
  EXPECT_EQ(json::text_at(options, "vga"), "qxl");
  EXPECT_EQ(json::number_at(options, "tablet"), 0);
}

TEST_F(TemplateOnNode, addsDevicesOfTheConfigurationBesideItsOwn) {
  node_.call("POST", "/cluster/sdn/zones", "zone=office&type=simple");
  node_.call("POST", "/cluster/sdn/vnets", "zone=office&vnet=office");
  node_.end_of_task(node_.call("PUT", "/cluster/sdn").text());
  const auto disk = write("a.raw", std::string(1024, 'a'));
  const auto options = while_it_lives(disk_spec(
      disk,
      R"(, "extra_proxmox_native_config": {"net5": "virtio,bridge=office", "scsi1": "local-lvm:1"})"));
  EXPECT_THAT(json::text_at(options, "net5"), HasSubstr("bridge=office"));
  EXPECT_THAT(json::text_at(options, "scsi1"), HasSubstr("size=1G"));
}

TEST_F(TemplateOnNode, refusesAnOptionThatTheServerDoesNotKnowBeforeAnythingIsMade) {
  const auto disk = write("a.raw", std::string(1024, 'a'));
  EXPECT_THAT(refusal_of(disk_spec(disk, R"(, "extra_proxmox_native_config": {"baloon": 0})")),
              HasSubstr("vms_config[0].extra_proxmox_native_config.baloon: is \"0\""));
  EXPECT_THAT(refusal_of(disk_spec(disk, R"(, "extra_proxmox_native_config": {"cores": 4})")),
              HasSubstr("use vcpus"));
  EXPECT_EQ(vms(), 0U);
}

TEST_F(TemplateOnNode, refusesAnOptionWhereItsSourceHasADisk) {
  const auto disk = write("a.raw", std::string(1024, 'a'));
  const auto spec = disk_spec(disk, R"(, "extra_proxmox_native_config": {"scsi0": "local-lvm:1"})");
  EXPECT_THAT(
      [&] {
        try {
          while_it_lives(spec);
        } catch (const Error& error) {
          return std::string{error.what()};
        }
        return std::string{"accepted"};
      }(),
      HasSubstr("extra_proxmox_native_config.scsi0: is \"local-lvm:1\"; template"));
}

TEST_F(TemplateOnNode, givesTheDiskTheSizeThatIsAskedFor) {
  const auto disk = write("a.raw", std::string(1024, 'a'));
  EXPECT_THAT(json::text_at(while_it_lives(disk_spec(disk, R"(, "disk_gb": 20)")), "scsi0"),
              HasSubstr("size=20G"));
}

TEST_F(TemplateOnNode, refusesADiskSmallerThanItsSource) {
  make_template(100, "&scsi0=local-lvm:8");
  const std::string spec = R"({"sdn_config": null, "vms_config": [
      {"vm_source_config": {"existing_vm_template_tag": "victim"}, "nics": [], "disk_gb": 4}]})";
  try {
    while_it_lives(spec);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("vms_config[0].disk_gb: is \"4\""));
  }
  EXPECT_EQ(vms(), 1U);
}

TEST_F(TemplateOnNode, isCopiedWholeWhereTheConfigurationSaysSo) {
  const auto disk = write("a.raw", std::string(1024, 'a'));
  const auto linked = while_it_lives(disk_spec(disk));
  const auto full = while_it_lives(disk_spec(disk, R"(, "full_clone": true)"));
  EXPECT_THAT(json::text_at(linked, "scsi0"), HasSubstr("/base-"));
  EXPECT_THAT(json::text_at(full, "scsi0"), ::testing::Not(HasSubstr("/base-")));
}

TEST_F(TemplateOnNode, isMadeInTheStorageAndThePoolThatAreAskedFor) {
  node_.call("POST", "/pools", "poolid=research");
  const auto disk = write("a.raw", std::string(1024, 'a'));
  const auto options =
      while_it_lives(disk_spec(disk, R"(, "storage": "local", "pool": "research")"));
  EXPECT_THAT(json::text_at(options, "scsi0"), HasSubstr("local:"));
  EXPECT_THAT(refusal_of(disk_spec(disk, R"(, "storage": "nowhere")")),
              HasSubstr("vms_config[0].storage: is \"nowhere\"; the storages for images of node "
                        "proxmox are: local, local-lvm"));
  EXPECT_THAT(refusal_of(disk_spec(disk, R"(, "pool": "nobody")")),
              HasSubstr("vms_config[0].pool: is \"nobody\"; the server's pools are: research"));
}

}  // namespace
}  // namespace px::sandbox
