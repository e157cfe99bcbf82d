// The spec's rules, one row a rule: a mistake names the field and what would be right.
#include "sandbox/spec.hpp"

#include "guest/windows/helper.hpp"
#include "support/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::sandbox {
namespace {

using ::testing::HasSubstr;

constexpr auto vm =
    R"({"vm_source_config": {"built_in": "debian13-small"}, "nics": [])";  // closed by each row

std::string spec_with(std::string_view vm_tail, std::string_view top = "") {
  return std::string{R"({"sdn_config": null, )"} + std::string{top} + R"("vms_config": [)" + vm +
         std::string{vm_tail} + "}]}";
}

TEST(Spec, hasTheDefaultsOfTheExistingProvider) {
  const auto spec = parse_spec(spec_with(""));
  ASSERT_EQ(spec.vms.size(), 1U);
  EXPECT_EQ(spec.instance_pool_id, "default");
  EXPECT_EQ(spec.vms[0].ram_mb, 2048);
  EXPECT_EQ(spec.vms[0].vcpus, 2);
  EXPECT_EQ(spec.vms[0].os_type, "l26");
  EXPECT_TRUE(spec.vms[0].is_sandbox);
  EXPECT_FALSE(spec.vms[0].cpu);
  EXPECT_FALSE(spec.overrides.any());
}

TEST(Spec, takesTheConnectionDataOfTheFirstVersion) {
  const auto spec =
      parse_spec(spec_with("", R"("host": "pve", "port": 1234, "password": "s3cret", )"));
  EXPECT_TRUE(spec.overrides.any());
  EXPECT_EQ(spec.overrides.host, "pve");
  EXPECT_EQ(spec.overrides.password.reveal(), "s3cret");
}

struct Row {
  const char* name;
  std::string json;
  Errc kind;
  const char* says;
};

class SpecMistake : public ::testing::TestWithParam<Row> {};

TEST_P(SpecMistake, isRefusedNamingFieldAndRule) {
  try {
    parse_spec(GetParam().json);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, GetParam().kind) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(GetParam().says));
  }
}

const std::string two_sources =
    R"({"sdn_config": null, "vms_config": [{"nics": [], "vm_source_config":
       {"built_in": "debian13-small", "existing_vm_template_tag": "x"}}]})";

INSTANTIATE_TEST_SUITE_P(
    Rows, SpecMistake,
    ::testing::Values(
        Row{"noJson", "{", Errc::bad_input, "line 1"},
        Row{"unknownKeyNamesTheNearest", spec_with(R"(, "ram_mbs": 1)"), Errc::bad_input,
            "did you mean \"ram_mb\"?"},
        Row{"wrongTypeNamesThePath", spec_with(R"(, "ram_mb": "2 GB")"), Errc::bad_input,
            "vms_config[0].ram_mb: should be a whole number"},
        Row{"negativeMemory", spec_with(R"(, "ram_mb": -1)"), Errc::bad_input,
            "vms_config[0].ram_mb: is \"-1\""},
        Row{"noProcessors", spec_with(R"(, "vcpus": 0)"), Errc::bad_input, "vcpus"},
        Row{"twoSources", two_sources, Errc::bad_input, "names 2 sources"},
        Row{"badName", spec_with(R"(, "name": "a_b")"), Errc::bad_input, "DNS name"},
        Row{"nameThatEndsInAHyphen", spec_with(R"(, "name": "a-")"), Errc::bad_input, "DNS name"},
        Row{"noVms", R"({"sdn_config": null, "vms_config": []})", Errc::bad_input, "is empty"},
        Row{"noSandbox", spec_with(R"(, "is_sandbox": false)"), Errc::bad_input, "is_sandbox"},
        Row{"unknownController", spec_with(R"(, "disk_controller": "sata")"), Errc::bad_input,
            "scsi, ide"},
        Row{"unknownOs", spec_with(R"(, "os_type": "linux")"), Errc::bad_input, "l26"},
        Row{"badPort", spec_with("", R"("port": 70000, )"), Errc::bad_input, "1..65535"},
        Row{"windowsWithAUser", spec_with(R"(, "os_type": "win11", "user": "bob")"),
            Errc::bad_input, "runs commands as SYSTEM"},
        Row{"networksOfAnotherKind",
            R"({"sdn_config": 7, "vms_config": [{"vm_source_config": {"built_in": "x"}}]})",
            Errc::bad_input, "sdn_config: should be an object"},
        Row{"aCardsMistakeNamesVmAndCard",
            R"({"vms_config": [{"vm_source_config": {"built_in": "x"},
                "nics": [{"vnet_alias": "lan", "mac": "7"}]}]})",
            Errc::bad_input, "vms_config[0].nics[0].mac: is \"7\""},
        Row{"oneMacForTwoVms",
            R"({"sdn_config": null, "vms_config": [
                {"vm_source_config": {"built_in": "x"},
                 "nics": [{"vnet_alias": "lan", "mac": "BC:24:11:00:00:01"}]},
                {"vm_source_config": {"built_in": "x"},
                 "nics": [{"vnet_alias": "lan", "mac": "bc:24:11:00:00:01"}]}]})",
            Errc::bad_input, "vms_config[1].nics[0].mac"}),
    [](const auto& info) { return info.param.name; });

TEST(Spec, givesAVmThatNamesNoCardOneInTheFirstVnetAndLeavesATemplateItsOwn) {
  const auto cards = [](const std::string& networks, const std::string& source,
                        const std::string& nics) {
    return parse_spec(
               fmt::format(R"({{{}"vms_config": [{{"vm_source_config": {{"{}": "x"}}{}}}]}})",
                           networks, source, nics))
        .vms.at(0)
        .cards;
  };
  const std::string none = R"("sdn_config": null, )";
  EXPECT_EQ(cards("", "built_in", "").value().at(0).vnet, 0U);
  EXPECT_TRUE(cards(none, "built_in", "").value().empty()) << "there is no VNet";
  EXPECT_TRUE(cards("", "built_in", R"(, "nics": [])").value().empty());
  EXPECT_FALSE(cards("", "existing_vm_template_tag", "")) << "as the template has them";
  EXPECT_TRUE(cards("", "existing_vm_template_tag", R"(, "nics": [])").value().empty());
}

TEST(Spec, takesWindowsGuests) {
  if (guest::windows_guest::helper_program().empty()) GTEST_SKIP() << "no compiler for Windows";
  EXPECT_TRUE(is_windows(parse_spec(spec_with(R"(, "os_type": "win11")")).vms.at(0)));
  EXPECT_TRUE(
      is_windows(parse_spec(spec_with(R"(, "os_type": "w2k8", "user": "system")")).vms.at(0)));
  EXPECT_FALSE(is_windows(parse_spec(spec_with("")).vms.at(0)));
}

TEST(Spec, refusesTwoVmsOfOneName) {
  const std::string one = std::string{vm} + R"(, "name": "a"})";
  EXPECT_THROW(parse_spec(R"({"sdn_config": null, "vms_config": [)" + one + "," + one + "]}"),
               Error);
}

}  // namespace
}  // namespace px::sandbox
