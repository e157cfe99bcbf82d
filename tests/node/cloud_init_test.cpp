#include "node/vm/cloud_init.hpp"

#include "node/vm_api.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>

namespace px::node {
namespace {

using node::testing::Params;
using node::testing::VmApi;
using ::testing::HasSubstr;
using ::testing::Not;

const Options linux_guest{{"name", "web"},
                          {"ciuser", "alice"},
                          {"cipassword", "$5$salt$hash"},
                          {"sshkeys", "ssh-ed25519%20AAAA%20one%0Assh-rsa%20BBBB%20two%0A"},
                          {"searchdomain", "example.org"},
                          {"nameserver", "10.0.0.2 10.0.0.3"},
                          {"net0", "virtio=BC:24:11:00:00:01,bridge=v1"},
                          {"net1", "e1000=BC:24:11:00:00:02,bridge=v2"},
                          {"net2", "virtio=BC:24:11:00:00:03,bridge=v2"},
                          {"ipconfig0", "gw=10.0.0.1,ip=10.0.0.5/22"},
                          {"ipconfig1", "ip=dhcp,ip6=auto"},
                          {"ipconfig5", "ip=dhcp"}};

TEST(CloudInitTexts, areThoseOfTheRealServer) {
  const auto texts = cloud_init_texts(linux_guest, 100);
  EXPECT_EQ(texts.user,
            "#cloud-config\n"
            "hostname: web\n"
            "manage_etc_hosts: true\n"
            "fqdn: web.example.org\n"
            "user: alice\n"
            "password: $5$salt$hash\n"
            "ssh_authorized_keys:\n"
            "  - ssh-ed25519 AAAA one\n"
            "  - ssh-rsa BBBB two\n"
            "chpasswd:\n"
            "  expire: False\n"
            "users:\n"
            "  - default\n"
            "package_upgrade: true\n");
  EXPECT_EQ(texts.network,
            "version: 1\n"
            "config:\n"
            "    - type: physical\n"
            "      name: eth0\n"
            "      mac_address: 'bc:24:11:00:00:01'\n"
            "      subnets:\n"
            "      - type: static\n"
            "        address: '10.0.0.5'\n"
            "        netmask: '255.255.252.0'\n"
            "        gateway: '10.0.0.1'\n"
            "    - type: physical\n"
            "      name: eth1\n"
            "      mac_address: 'bc:24:11:00:00:02'\n"
            "      subnets:\n"
            "      - type: dhcp4\n"
            "      - type: ipv6_slaac\n"
            "    - type: nameserver\n"
            "      address:\n"
            "      - '10.0.0.2'\n"
            "      - '10.0.0.3'\n"
            "      search:\n"
            "      - 'example.org'\n");
}

TEST(CloudInitTexts, changeTheirIdentityWithTheirContent) {
  // printf '#cloud-config\nhostname: VM100\n...version: 1\nconfig:\n' | sha1sum
  EXPECT_EQ(cloud_init_texts({}, 100).meta,
            "instance-id: 2719dfd03a25c88771ed2f0c07981ae2fef24617\n");
  EXPECT_NE(cloud_init_texts({}, 100).meta, cloud_init_texts({{"ciuser", "bob"}}, 100).meta);
}

TEST(CloudInitTexts, followTheirOptions) {
  EXPECT_THAT(cloud_init_texts({{"ciuser", "root"}, {"ciupgrade", "0"}}, 100).user,
              AllOf(HasSubstr("user: root\ndisable_root: False\n"), Not(HasSubstr("users:")),
                    Not(HasSubstr("package_upgrade"))));
  EXPECT_THAT(cloud_init_texts({{"name", "web.example.org"}}, 100).user,
              HasSubstr("hostname: web\nmanage_etc_hosts: true\nfqdn: web.example.org\n"));
  const Options v6{{"net0", "virtio=BC:24:11:00:00:01"},
                   {"ipconfig0", "gw6=fd00::1,ip6=fd00::5/64"}};
  EXPECT_THAT(cloud_init_texts(v6, 100).network,
              HasSubstr("      - type: static6\n        address: 'fd00::5/64'\n"
                        "        gateway: 'fd00::1'\n"));
}

TEST(CloudInitImages, areOfTheFormatThatTheGuestReads) {
  EXPECT_EQ(cloud_init_image({}, 100, {}).label, "cidata");
  const auto drive2 = cloud_init_image({{"citype", "configdrive2"},
                                        {"net0", "virtio=BC:24:11:00:00:01"},
                                        {"nameserver", "10.0.0.2"},
                                        {"ipconfig0", "gw=10.0.0.1,ip=10.0.0.5/24,ip6=dhcp"}},
                                       100, {});
  EXPECT_EQ(drive2.label, "config-2");
  EXPECT_EQ(drive2.files.at("openstack/content/0000"),
            "auto lo\n"
            "iface lo inet loopback\n"
            "\n"
            "        dns_nameservers 10.0.0.2\n"
            "auto eth0\n"
            "iface eth0 inet static\n"
            "        address 10.0.0.5\n"
            "        netmask 255.255.255.0\n"
            "        gateway 10.0.0.1\n"
            "iface eth0 inet6 dhcp\n");
  const auto windows = cloud_init_image(
      {{"ostype", "win11"}, {"cipassword", "pw"}, {"sshkeys", "ssh-rsa%20A"}}, 100, {});
  EXPECT_THAT(windows.files.at("openstack/latest/meta_data.json"),
              AllOf(HasSubstr("\"admin_pass\":\"pw\""),
                    HasSubstr("\"public_keys\":{\"key-0\":\"ssh-rsa A\"}")));
}

TEST(CloudInitImages, refuseWhatTheyCantHold) {
  const auto refusal = [](const Options& options, std::map<std::string, std::string> custom = {}) {
    try {
      cloud_init_image(options, 100, custom);
    } catch (const Error& error) {
      return error.said;
    }
    return std::string{};
  };
  EXPECT_EQ(refusal({}, {{"user", std::string(3 << 20, 'x')}}),
            "Cloud-Init sum of snippets too big (> 3 MiB)");
  EXPECT_EQ(refusal({{"net0", "virtio=BC:24:11:00:00:01"}, {"ipconfig0", "ip=manual"}}),
            "not a CIDR: manual");
  EXPECT_THAT(refusal({{"citype", "opennebula"}}), HasSubstr("citype: opennebula"));
}

/// The files of an ISO 9660 image, as another reader sees them.
std::map<std::string, std::string> files_in(const std::filesystem::path& image) {
  const std::unique_ptr<archive, decltype(&archive_read_free)> reader{archive_read_new(),
                                                                      &archive_read_free};
  archive_read_support_format_iso9660(reader.get());
  EXPECT_EQ(archive_read_open_filename(reader.get(), image.c_str(), 10240), ARCHIVE_OK);
  std::map<std::string, std::string> files;
  archive_entry* entry = nullptr;
  while (archive_read_next_header(reader.get(), &entry) == ARCHIVE_OK) {
    if (archive_entry_filetype(entry) != AE_IFREG) continue;
    std::string text(static_cast<std::size_t>(archive_entry_size(entry)), '\0');
    if (!text.empty()) archive_read_data(reader.get(), text.data(), text.size());
    files[archive_entry_pathname(entry)] = std::move(text);
  }
  return files;
}

std::string label_of(const std::filesystem::path& image) {
  std::ifstream file{image, std::ios::binary};
  file.seekg(16 * 2048 + 40);
  std::string label(32, '\0');
  file.read(label.data(), 32);
  return label.substr(0, label.find(' '));
}

const Params guest{{"vmid", "100"},
                   {"name", "web"},
                   {"ide2", "local:cloudinit"},
                   {"net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0"},
                   {"ciuser", "alice"},
                   {"cipassword", "top secret"},
                   {"ipconfig0", "ip=10.0.0.5/24,gw=10.0.0.1"}};

TEST(CloudInitDrives, holdWhatTheConfigurationSaysAtEachStart) {
  node::testing::with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", guest), "OK");
    EXPECT_EQ(co_await api.option(100, "ide2"), "local:100/vm-100-cloudinit.raw,media=cdrom");
    const auto image = api.path("local:100/vm-100-cloudinit.raw");
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
    auto files = files_in(image);
    EXPECT_EQ(label_of(image), "cidata");
    EXPECT_EQ(std::filesystem::file_size(image), 4U << 20);
    EXPECT_EQ(files.size(), 4U);
    EXPECT_THAT(files["user-data"], HasSubstr("hostname: web\n"));
    EXPECT_THAT(files["user-data"], HasSubstr("\npassword: $5$")) << "a hash of it";
    EXPECT_EQ(files["network-config"],
              "version: 1\nconfig:\n    - type: physical\n      name: eth0\n"
              "      mac_address: 'bc:24:11:00:00:01'\n      subnets:\n      - type: static\n"
              "        address: '10.0.0.5'\n        netmask: '255.255.255.0'\n"
              "        gateway: '10.0.0.1'\n");
    EXPECT_THAT(files["meta-data"], HasSubstr("instance-id: "));
    EXPECT_EQ(files["vendor-data"], "");

    co_await api.vm("PUT", "/100/config", {{"name", "mail"}});
    EXPECT_EQ(files_in(image), files) << "until it is asked for";
    const json::value before = co_await api.vm("GET", "/100/cloudinit");
    EXPECT_THAT(json::bj::serialize(before),
                HasSubstr(R"({"key":"name","value":"web","pending":"mail"})"));
    EXPECT_EQ(co_await api.vm("PUT", "/100/cloudinit"), nullptr);
    EXPECT_THAT(files_in(image)["user-data"], HasSubstr("hostname: mail\n"));
    EXPECT_NE(files_in(image)["meta-data"], files["meta-data"]) << "another instance";
    const json::value after = co_await api.vm("GET", "/100/cloudinit");
    EXPECT_THAT(json::bj::serialize(after), HasSubstr(R"({"key":"name","value":"mail"})"));

    co_await api.vm("PUT", "/100/config", {{"delete", "ciuser"}});
    EXPECT_THAT(json::bj::serialize(co_await api.vm("GET", "/100/cloudinit")),
                HasSubstr(R"({"key":"ciuser","delete":1})"));
    EXPECT_EQ(co_await api.task("POST", "/100/status/stop"), "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
    EXPECT_THAT(files_in(image)["user-data"], Not(HasSubstr("user: alice")));
  });
}

TEST(CloudInitDrives, neverTellThePassword) {
  node::testing::with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", guest), "OK");
    EXPECT_EQ(co_await api.option(100, "cipassword"), "**********");
    EXPECT_EQ(co_await api.task("POST", "/100/config", {{"cipassword", "another secret"}}), "OK");
    std::string told;
    for (const auto* path : {"/100/config", "/100/pending", "/100/cloudinit"}) {
      told += json::bj::serialize(co_await api.vm("GET", path));
    }
    for (const auto* type : {"user", "network", "meta"}) {
      told += json::bj::serialize(co_await api.vm("GET", "/100/cloudinit/dump", {{"type", type}}));
    }
    const json::value tasks = co_await api.send("GET", "/nodes/pve1/tasks");
    for (const auto& task : tasks.as_array()) {
      told += json::bj::serialize(co_await api.send(
          "GET", fmt::format("/nodes/pve1/tasks/{}/log", json::text_at(task, "upid"))));
    }
    EXPECT_THAT(told, HasSubstr("**********"));
    EXPECT_THAT(told, HasSubstr("<hidden>"));
    EXPECT_THAT(told, Not(HasSubstr("secret")));
    EXPECT_THAT(told, Not(HasSubstr("$5$")));
  });
}

TEST(CloudInitDrives, areMadeForEachCloneAndGoWithTheirVm) {
  node::testing::with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", guest), "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/template"), "OK");
    EXPECT_EQ(co_await api.option(100, "ide2"), "local:100/vm-100-cloudinit.raw,media=cdrom");
    EXPECT_EQ(co_await api.task("POST", "/100/clone", {{"newid", "101"}, {"name", "one"}}), "OK");
    EXPECT_EQ(co_await api.task("POST", "/100/clone",
                                {{"newid", "102"}, {"full", "1"}, {"storage", "local-lvm"}}),
              "OK");
    EXPECT_EQ(co_await api.option(101, "ide2"), "local:101/vm-101-cloudinit.raw,media=cdrom");
    EXPECT_EQ(co_await api.option(102, "ide2"), "local-lvm:102/vm-102-cloudinit.raw,media=cdrom");
    EXPECT_EQ(co_await api.task("POST", "/101/status/start"), "OK");
    EXPECT_THAT(files_in(api.path("local:101/vm-101-cloudinit.raw"))["user-data"],
                HasSubstr("hostname: one\n"));
    EXPECT_EQ(co_await api.task("POST", "/101/status/stop"), "OK");
    for (const auto* vm : {"/101", "/102", "/100"}) {
      EXPECT_EQ(co_await api.task("DELETE", vm), "OK");
    }
    for (const auto* volume : {"local:100/x", "local:101/x", "local-lvm:102/x"}) {
      EXPECT_FALSE(std::filesystem::exists(api.path(volume).parent_path())) << volume;
    }
  });
}

TEST(CloudInitDrives, areOneForEachVmAndLeaveNothingWhenTheyGo) {
  node::testing::with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", guest), "OK");
    EXPECT_EQ(co_await api.refusal("PUT", "/100/config", {{"scsi1", "local:cloudinit"}}),
              "500 scsi1 - cloud-init drive is already attached at 'ide2'");
    EXPECT_EQ(co_await api.task(
                  "POST", "",
                  {{"vmid", "101"}, {"ide0", "local:cloudinit"}, {"sata0", "local:cloudinit"}}),
              "unable to create VM 101 - ide0 - cloud-init drive is already attached at 'sata0'");
    EXPECT_THAT(co_await api.refusal("PUT", "/100/config", {{"virtio1", "local:cloudinit"}}),
                HasSubstr("|virtio1: unable to parse drive options"));
    const auto image = api.path("local:100/vm-100-cloudinit.raw");
    EXPECT_TRUE(std::filesystem::exists(image));
    co_await api.vm("PUT", "/100/config", {{"delete", "ide2"}});
    EXPECT_FALSE(std::filesystem::exists(image));
    EXPECT_EQ(co_await api.option(100, "unused0"), "");
    // Into a running VM, and out of it again.
    co_await api.vm("PUT", "/100/config", {{"ide2", "none,media=cdrom"}});
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
    co_await api.vm("PUT", "/100/config", {{"ide2", "local:cloudinit"}});
    EXPECT_EQ(files_in(image).size(), 4U);
    co_await api.vm("PUT", "/100/config", {{"ide2", "none,media=cdrom"}});
    EXPECT_FALSE(std::filesystem::exists(image));
  });
}

TEST(CloudInitDrives, takeTextsFromSnippets) {
  node::testing::with_node([](VmApi& api) -> awaitable<void> {
    EXPECT_EQ(co_await api.task("POST", "", guest), "OK");
    api.put_file("local:snippets/user.yml", "#cloud-config\nruncmd: [ls]\n");
    api.put_file("local:iso/a.iso", "iso");
    co_await api.vm("PUT", "/100/config",
                    {{"cicustom", "user=local:snippets/user.yml,vendor=local:snippets/none.yml"}});
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"),
              "volume 'local:snippets/none.yml' does not exist");
    co_await api.vm("PUT", "/100/config", {{"cicustom", "user=local:iso/a.iso"}});
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"),
              "local:iso/a.iso is not in the snippets directory");
    co_await api.vm("PUT", "/100/config", {{"cicustom", "user=local:snippets/user.yml"}});
    EXPECT_EQ(co_await api.task("POST", "/100/status/start"), "OK");
    auto files = files_in(api.path("local:100/vm-100-cloudinit.raw"));
    EXPECT_EQ(files["user-data"], "#cloud-config\nruncmd: [ls]\n");
    EXPECT_THAT(files["network-config"], HasSubstr("10.0.0.5")) << "the rest as before";
  });
}

}  // namespace
}  // namespace px::node
