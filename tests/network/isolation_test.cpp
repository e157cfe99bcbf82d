// What closed networks let through: the rules, and what is wrong with a configuration's.
#include "network/isolation.hpp"

#include "support/json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::network {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

Cidr cidr(const char* text) {
  return Cidr::parse("test", text);
}

WireSubnet subnet(const char* network, const char* gateway, bool snat) {
  return {cidr(network), parse_address("test", gateway), snat, true};
}

Isolation isolation(const std::string& egress, const std::string& kind = "closed") {
  return parse_isolation(kind, json::parse(egress, "the test"));
}

/// "out ACCEPT tcp 10.0.0.1 53", for each.
std::vector<std::string> texts(const std::vector<pve::firewall::Rule>& rules) {
  std::vector<std::string> out;
  for (const auto& rule : rules) {
    auto text = rule.type + " " + rule.action;
    for (const auto& part : {rule.proto, rule.source, rule.dest, rule.dport}) {
      if (!part.empty()) text += " " + part;
    }
    out.push_back(text);
  }
  return out;
}

const std::string private_v4 =
    "10.0.0.0/8,100.64.0.0/10,127.0.0.0/8,169.254.0.0/16,172.16.0.0/12,192.168.0.0/16";

TEST(Rules, ofNetworksWithAWayOutLeadToTheirOwnVnetAndTheInternet) {
  const auto rules = rules_of({subnet("10.1.0.0/24", "10.1.0.1", true)}, isolation("\"all\""),
                              {cidr("10.9.0.0/24"), cidr("203.0.113.0/24")});
  EXPECT_THAT(texts(rules),
              ElementsAre("out ACCEPT udp 10.1.0.1,255.255.255.255 67",
                          "out ACCEPT udp 10.1.0.1 53", "out ACCEPT tcp 10.1.0.1 53",
                          "out DROP 10.1.0.1", "in ACCEPT 10.1.0.0/24", "out ACCEPT 10.1.0.0/24",
                          "out DROP " + private_v4 + ",203.0.113.0/24", "out ACCEPT 0.0.0.0/0"));
}

TEST(Rules, withoutAWayOutLeadToTheirOwnVnetOnly) {
  const std::vector own{"out ACCEPT udp 10.1.0.1,255.255.255.255 67", "out DROP 10.1.0.1",
                        "in ACCEPT 10.1.0.0/24", "out ACCEPT 10.1.0.0/24"};
  const auto by_snat =
      rules_of({subnet("10.1.0.0/24", "10.1.0.1", false)}, isolation("\"all\""), {});
  const auto by_egress =
      rules_of({subnet("10.1.0.0/24", "10.1.0.1", true)}, isolation("\"none\""), {});
  EXPECT_THAT(texts(by_snat), ::testing::ElementsAreArray(own));
  EXPECT_THAT(texts(by_egress), ::testing::ElementsAreArray(own));
}

TEST(Rules, letDestinationsThroughBeforeTheyCloseAnything) {
  const auto rules = rules_of({subnet("10.1.0.0/24", "10.1.0.1", true)},
                              isolation(R"([{"cidr": "10.9.0.5/32", "ports": "443,8000-8010"},
                                            {"cidr": "192.0.2.0/24"}])"),
                              {});
  EXPECT_THAT(texts(rules),
              ElementsAre("out ACCEPT udp 10.1.0.1,255.255.255.255 67",
                          "out ACCEPT tcp 10.9.0.5/32 443,8000:8010", "out ACCEPT 192.0.2.0/24",
                          "out DROP 10.1.0.1", "in ACCEPT 10.1.0.0/24", "out ACCEPT 10.1.0.0/24"));
}

TEST(Rules, keepFamiliesApart) {
  const auto rules =
      rules_of({subnet("10.1.0.0/24", "10.1.0.1", false), subnet("fd00::/64", "fd00::1", true)},
               isolation("\"all\""), {cidr("2001:db8::/32")});
  EXPECT_THAT(texts(rules),
              ElementsAre("out ACCEPT udp 10.1.0.1,255.255.255.255 67",
                          "out ACCEPT udp ff02::1:2 547", "in ACCEPT udp fe80::/10 546",
                          "out ACCEPT udp fd00::1 53", "out ACCEPT tcp fd00::1 53",
                          "out DROP 10.1.0.1", "out DROP fd00::1", "in ACCEPT 10.1.0.0/24",
                          "out ACCEPT 10.1.0.0/24", "in ACCEPT fd00::/64", "out ACCEPT fd00::/64",
                          "out DROP 2001:db8::/32,fc00::/7,fe80::/10", "out ACCEPT ::/0"));
}

TEST(Rules, ofAWireCloseTheBridgesOwnAddressOnly) {
  EXPECT_THAT(texts(rules_of({}, isolation("\"none\""), {})),
              ElementsAre("in ACCEPT", "out DROP fe80::/10", "out ACCEPT"));
}

TEST(Rules, amongStrangersLetTheirOwnSubnetsAndTheInternetThrough) {
  EXPECT_THAT(
      texts(rules_among_strangers({}, {})),
      ElementsAre("in ACCEPT udp 68", "out ACCEPT udp 255.255.255.255 67", "out DROP " + private_v4,
                  "out DROP fc00::/7,fe80::/10", "out ACCEPT 0.0.0.0/0", "out ACCEPT ::/0"));
}

TEST(Rules, areNoLongerThanTheServerTakes) {
  std::vector<Cidr> foreign;
  for (int i = 0; i < 100; ++i) foreign.push_back(cidr(fmt::format("203.0.{}.0/24", i).c_str()));
  std::string all;
  for (const auto& rule :
       rules_of({subnet("10.1.0.0/24", "10.1.0.1", true)}, isolation("\"all\""), foreign)) {
    EXPECT_LE(rule.dest.size(), 512U);
    all += rule.dest + ",";
  }
  for (const auto& network : foreign) EXPECT_THAT(all, HasSubstr(network.text() + ","));
}

TEST(Isolation, isPartOfWhatTellsSetsApart) {
  EXPECT_NE(isolation("\"all\"").key(), isolation("\"none\"").key());
  EXPECT_NE(isolation("\"all\"").key(), isolation("\"all\"", "open").key());
  EXPECT_NE(isolation(R"([{"cidr": "192.0.2.0/24"}])").key(),
            isolation(R"([{"cidr": "192.0.2.0/24", "ports": "1"}])").key());
}

struct Mistake {
  const char* name;
  std::string isolation;
  std::string egress;
  std::string says;
};

class IsolationMistakes : public ::testing::TestWithParam<Mistake> {};

TEST_P(IsolationMistakes, areNamed) {
  const auto& row = GetParam();
  try {
    parse_isolation(row.isolation, json::parse(row.egress, "the test"));
    FAIL() << "went well";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Errc::bad_input);
    EXPECT_THAT(error.what(), HasSubstr(row.says));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rows, IsolationMistakes,
    ::testing::Values(
        Mistake{"isolation", "shut", "\"all\"", "sdn_config.isolation: is \"shut\""},
        Mistake{"egress", "closed", "\"some\"", "sdn_config.egress: is \"some\""},
        Mistake{"open", "open", "\"none\"", "egress limits closed networks only"},
        Mistake{"host_bits", "closed", R"([{"cidr": "192.0.2.1/24"}])",
                "sdn_config.egress[0].cidr: is \"192.0.2.1/24\"; it has host bits"},
        Mistake{"a_name", "closed", R"([{"cidr": "example.com/32"}])", "an IP address is needed"},
        Mistake{"protocol", "closed", R"([{"cidr": "192.0.2.0/24", "protocol": "icmp"}])",
                "sdn_config.egress[0].protocol: is \"icmp\"; it is tcp or udp"},
        Mistake{"ports", "closed", R"([{"cidr": "192.0.2.0/24", "ports": "0"}])",
                "ports are numbers of 1..65535"},
        Mistake{"downwards", "closed", R"([{"cidr": "192.0.2.0/24", "ports": "9-8"}])",
                "a range goes upwards"},
        Mistake{"too_many", "closed",
                R"([{"cidr": "192.0.2.0/24", "ports": "1,2,3,4,5,6,7,8,9,10,11,12,13,14,15-16"}])",
                "at most 15 ports"}),
    [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace px::network
