#include "sandbox/instances.hpp"

#include "support/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

namespace px::sandbox {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Environment variables(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto it = values.find(name);
    return it == values.end() ? std::nullopt : std::optional{it->second};
  };
}

std::string message_of(const Environment& environment) {
  try {
    read_instances(environment);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Errc::bad_input);
    return error.what();
  }
  ADD_FAILURE() << "accepted";
  return "";
}

class ConfigFile : public ::testing::Test {
 protected:
  std::string write(std::string_view text) {
    std::ofstream{path_} << text;
    return path_.string();
  }
  ~ConfigFile() override { std::filesystem::remove(path_); }
  std::filesystem::path path_ = std::filesystem::temp_directory_path() /
                                ("px-instances-" + std::to_string(::getpid()) + ".json");
};

TEST(Instances, comeFromTheSingleVariablesWithTheirDefaults) {
  const auto all = read_instances(variables({{"PROXMOX_HOST", "pve"}, {"PROXMOX_PASSWORD", "x"}}));
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].port, 8006);
  EXPECT_EQ(all[0].user, "root");
  EXPECT_EQ(all[0].realm, "pam");
  EXPECT_EQ(all[0].node, "auto");
  EXPECT_EQ(all[0].image_storage, "local-lvm");
  EXPECT_TRUE(all[0].verify_tls);
}

TEST(Instances, readVerifyTlsAsPeopleWriteIt) {
  for (const auto* yes : {"1", "true", "Yes", "on"}) {
    EXPECT_TRUE(read_instances(variables(
        {{"PROXMOX_HOST", "p"}, {"PROXMOX_PASSWORD", "x"}, {"PROXMOX_VERIFY_TLS", yes}}))[0]
                    .verify_tls);
  }
  for (const auto* no : {"0", "False", "no", "off"}) {
    EXPECT_FALSE(read_instances(variables(
        {{"PROXMOX_HOST", "p"}, {"PROXMOX_PASSWORD", "x"}, {"PROXMOX_VERIFY_TLS", no}}))[0]
                     .verify_tls);
  }
  EXPECT_THAT(message_of(variables({{"PROXMOX_HOST", "p"}, {"PROXMOX_VERIFY_TLS", "maybe"}})),
              HasSubstr("PROXMOX_VERIFY_TLS"));
}

TEST(Instances, sayWhatToSetWhenSomethingIsMissing) {
  EXPECT_THAT(message_of(variables({})), HasSubstr("PROXMOX_HOST: is not set"));
  EXPECT_THAT(message_of(variables({{"PROXMOX_HOST", "p"}})), HasSubstr("PROXMOX_PASSWORD"));
  EXPECT_THAT(message_of(variables({{"PROXMOX_HOST", "p"}, {"PROXMOX_TOKEN_ID", "a!b"}})),
              HasSubstr("PROXMOX_TOKEN_SECRET"));
  EXPECT_THAT(message_of(variables({{"PROXMOX_HOST", "p"}, {"PROXMOX_PORT", "8006x"}})),
              HasSubstr("PROXMOX_PORT: is \"8006x\"; it is a whole number"));
}

TEST(Instances, neverShowASecretInAnError) {
  EXPECT_THAT(message_of(variables({{"PROXMOX_PASSWORD", "hunter2"}})), Not(HasSubstr("hunter2")));
}

TEST_F(ConfigFile, winsOverTheSingleVariables) {
  const auto path = write(R"({"instances": [
      {"instance_id": "a", "pool_id": "p1", "host": "h1", "password": "x", "node": "n1",
       "extra_headers": [{"name": "X-A", "value": "v"}]},
      {"instance_id": "b", "pool_id": "p2", "host": "h2", "password": "x"}]})");
  const auto environment = variables({{"PROXMOX_CONFIG_FILE", path}, {"PROXMOX_HOST", "other"}});
  const auto all = read_instances(environment);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].host, "h1");
  EXPECT_EQ(all[0].extra_headers.size(), 1U);
  Spec spec;
  spec.instance_pool_id = "p2";
  const auto pool = instances_for(spec, environment);
  ASSERT_EQ(pool.size(), 1U);
  EXPECT_EQ(pool[0].id, "b");
  spec.instance_pool_id = "p3";
  EXPECT_THROW(instances_for(spec, environment), Error);
}

TEST_F(ConfigFile, isNamedWithTheFieldThatIsWrong) {
  const auto with = [&](std::string_view text) {
    return message_of(variables({{"PROXMOX_CONFIG_FILE", write(text)}}));
  };
  EXPECT_THAT(with(R"({"instances": [{"host": "h", "pasword": "x"}]})"),
              HasSubstr("did you mean \"password\"?"));
  EXPECT_THAT(with(R"({"instances": [{"host": "h"}]})"), HasSubstr("instances[0].password"));
  EXPECT_THAT(with("{"), HasSubstr("line 1"));
  EXPECT_THAT(message_of(variables({{"PROXMOX_CONFIG_FILE", "/no/such/file"}})),
              HasSubstr("/no/such/file"));
}

TEST(Instances, takeTheConnectionDataOfTheSample) {
  Spec spec;
  spec.overrides.host = "mine";
  spec.overrides.password = Secret{"y"};
  const auto all = instances_for(spec, variables({{"PROXMOX_HOST", "h"},
                                                  {"PROXMOX_TOKEN_ID", "a!b"},
                                                  {"PROXMOX_TOKEN_SECRET", "s"}}));
  EXPECT_EQ(all[0].host, "mine");
  EXPECT_TRUE(all[0].token_id.empty()) << "the sample's password wins over the environment's token";
}

}  // namespace
}  // namespace px::sandbox
