// What `cloud_init` becomes for the guest, and what is wrong with it.
#include "sandbox/cloud_init_spec.hpp"

#include "sandbox/spec.hpp"
#include "support/bytes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::sandbox {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

CloudInitSpec all_but_user_data() {
  return {.user_data = {},
          .network = "version: 2\n",
          .ssh_keys = {"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ alice@example"},
          .packages = {"nginx"},
          .run = {"echo $HOME", json::array{"touch", "/b c"}}};
}

const std::string own_fields =
    R"({"ssh_authorized_keys":["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ alice@example"],)"
    R"("package_update":true,"packages":["nginx"],"runcmd":["set -e","echo $HOME",["touch","/b c"]])";

TEST(CloudInitSpec, isAConfigurationOfCloudInit) {
  const auto seed = seed_of("cloud_init", all_but_user_data(), "web.lan");
  EXPECT_EQ(seed.user_data, "#cloud-config\n" + own_fields + "}\n");
  EXPECT_EQ(seed.network_config, "version: 2\n");
  EXPECT_EQ(seed.host_name, "web.lan");
}

TEST(CloudInitSpec, leavesUserDataAloneWhereNothingIsBeside) {
  const std::string script = "#!/bin/sh\necho \xc3\xa4\n";
  EXPECT_EQ(seed_of("cloud_init", {.user_data = script}, "").user_data, script);
}

TEST(CloudInitSpec, mayOnlyGiveTheHostName) {
  EXPECT_EQ(seed_of("cloud_init", {}, "web").user_data, "#cloud-config\n{}\n");
}

/// Each part's type and text.
std::vector<std::pair<std::string, std::string>> parts_of(const std::string& document) {
  const std::string mark = "boundary=\"";
  const auto from = document.find(mark) + mark.size();
  const auto boundary = "\n--" + document.substr(from, document.find('"', from) - from);
  std::vector<std::pair<std::string, std::string>> out;
  for (auto at = document.find(boundary); at != std::string::npos;) {
    const auto next = document.find(boundary, at + 1);
    if (next == std::string::npos) break;
    const auto part = document.substr(at, next - at);
    const auto type = part.find("Content-Type: ") + 14;
    const auto body = part.find("\n\n") + 2;
    out.emplace_back(part.substr(type, part.find(';', type) - type),
                     from_base64(part.substr(body)));
    at = next;
  }
  return out;
}

TEST(CloudInitSpec, addsToTheListsOfUserData) {
  auto spec = all_but_user_data();
  spec.user_data = "#cloud-config\nruncmd: [\"\xc3\xa4\"]\n";
  const auto document = seed_of("cloud_init", spec, "").user_data;
  EXPECT_THAT(document, StartsWith("Content-Type: multipart/mixed; boundary="));
  const auto parts = parts_of(document);
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(parts[0], std::pair(std::string{"text/cloud-config"}, *spec.user_data));
  EXPECT_EQ(parts[1].first, "text/cloud-config");
  const std::string merge = "dict(no_replace,recurse_list)+list(append)";
  EXPECT_EQ(parts[1].second,
            "#cloud-config\n" + own_fields + ",\"merge_how\":\"" + merge + "\"}\n");
}

TEST(CloudInitSpec, goesBesideAScript) {
  auto spec = all_but_user_data();
  spec.user_data = "#!/bin/sh\ntrue\n";
  const auto parts = parts_of(seed_of("cloud_init", spec, "").user_data);
  ASSERT_EQ(parts.size(), 2U);
  EXPECT_EQ(parts[0], std::pair(std::string{"text/x-shellscript"}, *spec.user_data));
}

TEST(CloudInitSpec, goesBesideADocumentOfParts) {
  auto spec = all_but_user_data();
  spec.user_data = "Content-Type: multipart/mixed; boundary=\"x\"\n\n--x\n...\n--x--";
  EXPECT_THAT(seed_of("cloud_init", spec, "").user_data,
              HasSubstr("\n" + *spec.user_data + "\n--="));
}

std::string vm_with(const std::string& fields) {
  return R"({"sdn_config": null, "vms_config": [{"name": "web", "nics": [],
      "vm_source_config": {"built_in": "debian13"}, )" +
         fields + "}]}";
}

Error refusal_of(const std::string& fields) {
  try {
    parse_spec(vm_with(fields));
  } catch (const Error& error) {
    return error;
  }
  return Error{Errc::internal, "accepted"};
}

TEST(CloudInitSpec, ofTheSameContentIsTheSameSeed) {
  const auto text = vm_with(R"("cloud_init": {"packages": ["nginx"]})");
  const auto seed = parse_spec(text).vms.at(0).seed;
  EXPECT_EQ(seed->file_name, parse_spec(text).vms.at(0).seed->file_name);
  EXPECT_FALSE(parse_spec(vm_with(R"("cloud_init": null)")).vms.at(0).seed);
}

struct Mistake {
  const char* name;
  const char* fields;
  const char* says;
};

class CloudInitMistake : public ::testing::TestWithParam<Mistake> {};

TEST_P(CloudInitMistake, isRefusedNamingTheField) {
  const auto error = refusal_of(GetParam().fields);
  EXPECT_THAT(error.what(), HasSubstr(GetParam().says));
  EXPECT_THAT(error.what(), Not(HasSubstr("s3cret")));
}

INSTANTIATE_TEST_SUITE_P(
    Rows, CloudInitMistake,
    ::testing::Values(
        Mistake{"userDataOfNoForm", R"("cloud_init": {"user_data": "s3cret"})",
                "vms_config[0].cloud_init.user_data: is nothing that cloud-init takes"},
        Mistake{"userDataOfALikeForm", R"("cloud_init": {"user_data": "#cloud-config-archive\n"})",
                "vms_config[0].cloud_init.user_data: is nothing"},
        Mistake{"userDataWithANul", R"("cloud_init": {"user_data": "#!/bin/sh\n\u0000s3cret"})",
                "user_data: is nothing"},
        Mistake{"userDataOfALog", R"("cloud_init": {"user_data": "**********"})",
                "Logs don't hold it"},
        Mistake{"emptyNetwork", R"("cloud_init": {"network": ""})", "cloud_init.network: is \"\""},
        Mistake{"noKey", R"("cloud_init": {"ssh_keys": ["~/.ssh/id.pub"]})",
                "cloud_init.ssh_keys[0]: is \"~/.ssh/id.pub\"; a public key is one line"},
        Mistake{"packageThatIsAnOption", R"("cloud_init": {"packages": ["ok", "--yes"]})",
                "cloud_init.packages[1]: is \"--yes\""},
        Mistake{"emptyCommand", R"("cloud_init": {"run": [""]})", "cloud_init.run[0]: is \"\"\"\""},
        Mistake{"commandWithoutAProgram", R"("cloud_init": {"run": [[]]})",
                "cloud_init.run[0]: is \"[]\""},
        Mistake{"commandOfNumbers", R"("cloud_init": {"run": ["ls", [1]]})",
                "cloud_init.run[1]: is \"[1]\""},
        Mistake{"unknownField", R"("cloud_init": {"runcmd": []})", "cloud_init.runcmd"},
        Mistake{"windows", R"("os_type": "win11", "cloud_init": {})",
                "vms_config[0].cloud_init: the guest is Windows"},
        Mistake{"serversOwn", R"("cloud_init": {}, "extra_proxmox_native_config": {"ciuser": "x"})",
                "extra_proxmox_native_config.ciuser: is \"x\"; cloud_init is set, too"},
        Mistake{"serversOwnAddress",
                R"("cloud_init": {}, "extra_proxmox_native_config": {"ipconfig0": "ip=dhcp"})",
                "cloud_init is set, too"},
        Mistake{"serversOwnDrive",
                R"("cloud_init": {}, "extra_proxmox_native_config": {"ide2": "local:cloudinit"})",
                "cloud_init is set, too"}),
    [](const auto& info) { return info.param.name; });

TEST(CloudInitSpec, leavesTheServersOwnToOtherVms) {
  EXPECT_EQ(refusal_of(R"("extra_proxmox_native_config": {"ciuser": "x"})").said, "accepted");
}

}  // namespace
}  // namespace px::sandbox
