// What a configuration asks for and what is wrong with it: one row a rule.
#include "network/plan.hpp"

#include "support/error.hpp"
#include "support/json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace px::network {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Plan plan_of(const std::string& text) {
  return parse_plan(json::parse(text, "the test"));
}

std::string sdn(const std::string& vnets, bool dhcp = true) {
  return fmt::format(R"({{"vnet_configs": [{}], "use_pve_ipam_dnsnmasq": {}}})", vnets, dhcp);
}

std::string subnet(const std::string& cidr, const std::string& gateway,
                   const std::string& ranges = "") {
  return fmt::format(R"({{"cidr": "{}", "gateway": "{}", "snat": true, "dhcp_ranges": [{}]}})",
                     cidr, gateway, ranges);
}

std::string range(const std::string& start, const std::string& end) {
  return fmt::format(R"({{"start": "{}", "end": "{}"}})", start, end);
}

std::string vnet(const std::string& alias, const std::string& subnets = "") {
  return fmt::format(R"({{"alias": "{}", "subnets": [{}]}})", alias, subnets);
}

const std::string good_range = range("10.1.0.50", "10.1.0.99");
const std::string good_subnet = subnet("10.1.0.0/24", "10.1.0.1", good_range);
const std::string good = sdn(vnet("lan", good_subnet));

TEST(Plan, ofAutoIsOneVnetWhoseRangeIsChosenLater) {
  const auto plan = plan_of("\"auto\"");
  EXPECT_TRUE(plan.automatic);
  EXPECT_TRUE(plan.dhcp);
  ASSERT_EQ(plan.vnets.size(), 1U);
  EXPECT_FALSE(plan.has_fixed_ranges());
  const auto made = with_range(plan, 7);
  const auto& subnet = made.vnets.at(0).subnets.at(0);
  EXPECT_EQ(subnet.cidr.text(), "192.168.7.0/24");
  EXPECT_EQ(subnet.gateway.to_string(), "192.168.7.1");
  EXPECT_TRUE(subnet.snat);
  EXPECT_EQ(subnet.dhcp_ranges.at(0).start.to_string(), "192.168.7.50");
  EXPECT_EQ(subnet.dhcp_ranges.at(0).end.to_string(), "192.168.7.100");
}

TEST(Plan, ofNoneHasNoVnets) {
  EXPECT_TRUE(plan_of("null").vnets.empty());
}

TEST(Plan, keepsWhatIsConfigured) {
  const auto plan = plan_of(sdn(vnet("lan", good_subnet) + "," + vnet("wire")));
  ASSERT_EQ(plan.vnets.size(), 2U);
  EXPECT_EQ(plan.vnets[0].alias, "lan");
  EXPECT_EQ(plan.vnets[0].subnets.at(0).gateway.to_string(), "10.1.0.1");
  EXPECT_TRUE(plan.vnets[1].subnets.empty());
  EXPECT_TRUE(plan.has_fixed_ranges());
  EXPECT_FALSE(plan_of(sdn(vnet("a") + "," + vnet("b"), false)).has_fixed_ranges());
}

TEST(Plan, takesIpv6Subnets) {
  const auto plan = plan_of(
      sdn(vnet("lan", subnet("fd00:1::/64", "fd00:1::1", range("fd00:1::50", "fd00:1::99")))));
  EXPECT_EQ(plan.vnets[0].subnets.at(0).cidr.text(), "fd00:1::/64");
}

TEST(Plan, hasTheSameKeyOnlyForTheSameNetworks) {
  EXPECT_EQ(plan_of(good).key(), plan_of(good).key());
  EXPECT_NE(plan_of(good).key(), plan_of(sdn(vnet("wan", good_subnet))).key());
  EXPECT_NE(plan_of(good).key(),
            plan_of(sdn(vnet("lan", subnet("10.1.0.0/24", "10.1.0.2", good_range)))).key());
  EXPECT_NE(plan_of("\"auto\"").key(), plan_of("null").key());
}

/// `options` at each place in turn.
std::vector<std::string> with_options(const std::string& options) {
  const auto more = ", \"extra_proxmox_native_config\": " + options;
  const auto build = [](const std::string& zone, const std::string& wire,
                        const std::string& range) {
    return fmt::format(
        R"({{"use_pve_ipam_dnsnmasq": false{}, "vnet_configs": [{{"alias": "lan"{}, "subnets": [
        {{"cidr": "10.1.0.0/24", "gateway": "10.1.0.1", "snat": false, "dhcp_ranges": []{}}}]}}]}})",
        zone, wire, range);
  };
  return {build(more, "", ""), build("", more, ""), build("", "", more)};
}

TEST(Plan, hasAnotherKeyForEachOfTheServersOptions) {
  std::set<std::string> keys;
  for (const auto* options :
       {"{}", R"({"mtu": 1400})", R"({"mtu": 1500})", R"({"mtu": "1", "b": 2})"}) {
    for (const auto& config : with_options(options)) keys.insert(plan_of(config).key());
  }
  EXPECT_EQ(keys.size(), 1U + 3 * 3);
}

TEST(Plan, refusesAnOptionThatTheProviderSets) {
  const auto refusal = [](const std::string& config) {
    try {
      plan_of(config);
    } catch (const Error& error) {
      return error.said;
    }
    return std::string{"accepted"};
  };
  const std::string option = ".extra_proxmox_native_config.";
  EXPECT_THAT(refusal(with_options(R"({"ipam": "pve"})")[0]),
              HasSubstr("sdn_config" + option + "ipam: is \"pve\"; use use_pve_ipam_dnsnmasq"));
  EXPECT_THAT(refusal(with_options(R"({"alias": "x"})")[1]),
              HasSubstr("sdn_config.vnet_configs[0]" + option + "alias: is \"x\"; use alias"));
  EXPECT_THAT(refusal(with_options(R"({"snat": true})")[2]),
              HasSubstr("vnet_configs[0].subnets[0]" + option + "snat: is \"1\"; use snat"));
  EXPECT_THAT(refusal(with_options(R"({"mtu": [1]})")[0]), HasSubstr("a text, a number or a"));
}

struct Row {
  const char* name;
  std::string config;
  const char* says;
};

class PlanMistake : public ::testing::TestWithParam<Row> {};

TEST_P(PlanMistake, isRefusedNamingFieldAndValue) {
  try {
    plan_of(GetParam().config);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Errc::bad_input) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(GetParam().says));
  }
}

std::string many_vnets(int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += (i == 0 ? "" : ",") + vnet(fmt::format("v{}", i));
  return out;
}

INSTANTIATE_TEST_SUITE_P(
    Rows, PlanMistake,
    ::testing::Values(
        Row{"anotherWord", "\"none\"", "sdn_config: is \"none\""},
        Row{"unknownKey", R"({"vnet_config": []})", "did you mean \"vnet_configs\"?"},
        Row{"noVnets", sdn(""), "vnet_configs: is \"0 VNets\""},
        Row{"elevenVnets", sdn(many_vnets(11), false), "is \"11 VNets\"; a sample has 1..10"},
        Row{"anAliasTwice", sdn(vnet("a") + "," + vnet("a"), false),
            "vnet_configs[1].alias: is \"a\"; another VNet has it"},
        Row{"noNetwork", sdn(vnet("a", subnet("10.1.0.0", "10.1.0.1"))), "ADDRESS/BITS"},
        Row{"tooManyBits", sdn(vnet("a", subnet("10.1.0.0/33", "10.1.0.1"))), "0..32"},
        Row{"hostBits", sdn(vnet("a", subnet("10.1.0.1/24", "10.1.0.1"))),
            "subnets[0].cidr: is \"10.1.0.1/24\"; it has host bits; the network is 10.1.0.0/24"},
        Row{"gatewayOutside", sdn(vnet("a", subnet("10.1.0.0/24", "10.2.0.1"))),
            "sdn_config.vnet_configs[0].subnets[0].gateway: is \"10.2.0.1\""},
        Row{"gatewayOfTheOtherFamily", sdn(vnet("a", subnet("10.1.0.0/24", "fd00::1"))),
            "gateway: is \"fd00::1\""},
        Row{"gatewayThatIsTheNetwork", sdn(vnet("a", subnet("10.1.0.0/24", "10.1.0.0"))),
            "gateway: is \"10.1.0.0\""},
        Row{"gatewayThatIsTheBroadcast", sdn(vnet("a", subnet("10.1.0.0/24", "10.1.0.255"))),
            "gateway: is \"10.1.0.255\""},
        Row{"gatewayThatIsNoAddress", sdn(vnet("a", subnet("10.1.0.0/24", "router"))),
            "gateway: is \"router\"; an IP address is needed"},
        Row{"rangeOutside",
            sdn(vnet("a", subnet("10.1.0.0/24", "10.1.0.1", range("10.1.0.9", "10.1.1.9")))),
            "dhcp_ranges[0].end: is \"10.1.1.9\""},
        Row{"rangeReversed",
            sdn(vnet("a", subnet("10.1.0.0/24", "10.1.0.1", range("10.1.0.9", "10.1.0.8")))),
            "is \"10.1.0.9 - 10.1.0.8\"; a range goes upwards"},
        Row{"rangeWithTheGateway",
            sdn(vnet("a", subnet("10.1.0.0/24", "10.1.0.5", range("10.1.0.1", "10.1.0.9")))),
            "the gateway 10.1.0.5 lies in it"},
        Row{"rangesThatOverlap",
            sdn(vnet("a",
                     subnet("10.1.0.0/24", "10.1.0.1",
                            range("10.1.0.5", "10.1.0.9") + "," + range("10.1.0.9", "10.1.0.19")))),
            "dhcp_ranges[1]: is \"10.1.0.9 - 10.1.0.19\"; it overlaps the range"},
        Row{"subnetsThatOverlap",
            sdn(vnet("a", good_subnet) + "," + vnet("b", subnet("10.1.0.128/25", "10.1.0.129"))),
            "vnet_configs[1].subnets[0].cidr: is \"10.1.0.128/25\"; it overlaps 10.1.0.0/24"},
        Row{"dhcpWithoutRange", sdn(vnet("a", subnet("10.1.0.0/24", "10.1.0.1"))),
            "it needs a DHCP range"},
        Row{"rangeWithoutDhcp", sdn(vnet("a", good_subnet), false), "it forbids DHCP ranges"}),
    [](const auto& info) { return info.param.name; });

struct CardRow {
  const char* name;
  NicConfig nic;
  const char* says;
};

class CardMistake : public ::testing::TestWithParam<CardRow> {};

TEST_P(CardMistake, isRefusedNamingFieldAndValue) {
  const auto plan = plan_of(sdn(vnet("lan", good_subnet) + "," + vnet("wire")));
  try {
    plan_card(plan, "nics[0]", GetParam().nic);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Errc::bad_input) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(GetParam().says));
  }
}

const std::string mac = "bc:24:11:00:00:01";

INSTANTIATE_TEST_SUITE_P(
    Rows, CardMistake,
    ::testing::Values(
        CardRow{"noAlias", {"", {}, {}}, "nics[0].vnet_alias"},
        CardRow{"noMac", {"lan", "BC-24", {}}, "nics[0].mac: is \"BC-24\""},
        CardRow{"aGroupsMac", {"lan", "01:00:5e:00:00:01", {}}, "even"},
        CardRow{"addressWithoutMac", {"lan", {}, "10.1.0.9"}, "a reservation needs mac"},
        CardRow{"noAddress", {"lan", mac, "ten"}, "nics[0].ipv4: is \"ten\""},
        CardRow{"addressOfIpv6", {"lan", mac, "fd00::1"}, "an IPv4 address"},
        CardRow{"addressOutside", {"lan", mac, "10.9.0.9"}, "a subnet of its VNet: 10.1.0.0/24"},
        CardRow{"addressWithoutSubnet", {"wire", mac, "10.9.0.9"}, "it has none"},
        CardRow{"gatewaysAddress", {"lan", mac, "10.1.0.1"}, "it is the gateway's"},
        CardRow{"broadcastAddress", {"lan", mac, "10.1.0.255"}, "a host's address"},
        CardRow{"addressInARange", {"lan", mac, "10.1.0.60"}, "lies in the DHCP range"}),
    [](const auto& info) { return info.param.name; });

TEST(Card, findsItsVnetByAlias) {
  const auto plan = plan_of(sdn(vnet("lan", good_subnet) + "," + vnet("wire")));
  EXPECT_EQ(plan_card(plan, "nics[0]", {"wire", {}, {}}).vnet, 1U);
  const auto fixed = plan_card(plan, "nics[0]", {"lan", mac, "10.1.0.9"});
  EXPECT_EQ(fixed.vnet, 0U);
  EXPECT_EQ(fixed.mac, "BC:24:11:00:00:01");
  EXPECT_EQ(fixed.ipv4->to_string(), "10.1.0.9");
}

TEST(Card, ofAnotherAliasIsOneOfTheServers) {
  const auto card = plan_card(plan_of("null"), "nics[0]", {"office", {}, {}});
  EXPECT_FALSE(card.vnet);
  EXPECT_EQ(card.alias, "office");
}

TEST(Card, withAReservationNeedsDhcp) {
  const auto plan = plan_of(sdn(vnet("lan", subnet("10.1.0.0/24", "10.1.0.1")), false));
  try {
    plan_card(plan, "nics[0]", {"lan", mac, "10.1.0.9"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("use_pve_ipam_dnsnmasq=True"));
  }
}

TEST(Cards, haveNoMacAndNoAddressTwice) {
  const auto plan = plan_of(good);
  const auto card = [&](const char* field, const char* own, const char* address) {
    return plan_card(plan, field, {"lan", own, address});
  };
  const auto said = [&](const Card& one, const Card& other) -> std::string {
    try {
      check_cards(plan, {one, other});
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const auto first = card("a", "BC:24:11:00:00:01", "10.1.0.9");
  EXPECT_THAT(said(first, card("b", "bc:24:11:00:00:01", "10.1.0.8")),
              HasSubstr("b.mac: is \"BC:24:11:00:00:01\"; a has it, too"));
  EXPECT_THAT(said(first, card("b", "BC:24:11:00:00:02", "10.1.0.9")),
              HasSubstr("b.ipv4: is \"10.1.0.9\"; a has it, too"));
  EXPECT_EQ(said(first, card("b", "BC:24:11:00:00:02", "10.1.0.8")), "");
  EXPECT_EQ(said(first_card("a"), first_card("b")), "");
}

TEST(FreeOctets, touchNothingThatAnyoneHas) {
  const auto taken = [](std::vector<std::string> texts) {
    std::vector<Cidr> out;
    for (const auto& text : texts) out.push_back(Cidr::around("", text));
    return out;
  };
  EXPECT_THAT(free_octets({}, 3, 0), ElementsAre(2, 3, 4));
  EXPECT_THAT(free_octets({}, 3, 251), ElementsAre(253, 2, 3)) << "round";
  EXPECT_THAT(free_octets(taken({"192.168.3.0/24", "10.0.0.0/8", "fd00::/8"}), 2, 0),
              ElementsAre(2, 4));
  EXPECT_THAT(free_octets(taken({"192.168.2.77/25"}), 1, 0), ElementsAre(3)) << "a part is taken";
  EXPECT_THAT(free_octets(taken({"192.168.0.1/21"}), 1, 0), ElementsAre(8)) << "a larger network";
  EXPECT_TRUE(free_octets(taken({"192.168.0.0/16"}), 1, 0).empty());
  EXPECT_EQ(free_octets({}, 999, 5).size(), 252U);
}

TEST(Names, areThoseOfTheExistingProvider) {
  EXPECT_EQ(stem_of("My task"), "myt");
  EXPECT_EQ(stem_of("4x"), "x");
  EXPECT_EQ(stem_of("123"), "px");
  EXPECT_EQ(stem_of("züge"), "zge");
  EXPECT_EQ(zone_name(prefix_of("abc", 7)), "abc007z");
  EXPECT_EQ(vnet_name(prefix_of("abc", 1999), 9), "abc999v9");
  EXPECT_EQ(prefix_of_zone("abc123z"), "abc123");
  EXPECT_EQ(prefix_of_zone("a123z"), "a123");
  for (const auto* other :
       {"inspvmz", "123z", "abcd123z", "abc123", "abc12z", "ABC123z", "abc123za", "localnet", ""}) {
    EXPECT_EQ(prefix_of_zone(other), "") << other;
  }
}

TEST(AliasMark, tellsTheRunAndCantBeForged) {
  const std::string run = "1a2b3c4d";
  EXPECT_EQ(mark_alias("lan", run), "lan [inspect-run-1a2b3c4d]");
  EXPECT_EQ(mark_alias("", run), "[inspect-run-1a2b3c4d]");
  EXPECT_EQ(run_of_alias(mark_alias("lan", run)), run);
  EXPECT_EQ(mark_alias("büro #1!", run), "b__ro _1_ [inspect-run-1a2b3c4d]");
  EXPECT_LE(mark_alias(std::string(999, 'x'), run).size(), 256U);
  EXPECT_EQ(run_of_alias(mark_alias("[inspect-run-00000000]", run)), run);
  for (const auto* other : {"", "lan", "[inspect-run-1a2b3c4d] lan", "[inspect-run-1A2B3C4D]",
                            "[inspect-run-1a2b3c4]"}) {
    EXPECT_EQ(run_of_alias(other), std::nullopt) << other;
  }
}

TEST(Cidr, knowsItsHosts) {
  const auto net = Cidr::parse("", "10.1.0.0/30");
  const auto host = [](const char* text) { return boost::asio::ip::make_address(text); };
  EXPECT_TRUE(net.can_be_a_host(host("10.1.0.1")));
  EXPECT_FALSE(net.can_be_a_host(host("10.1.0.0")));
  EXPECT_FALSE(net.can_be_a_host(host("10.1.0.3")));
  EXPECT_FALSE(net.can_be_a_host(host("10.1.0.4")));
  EXPECT_TRUE(Cidr::parse("", "10.1.0.0/31").can_be_a_host(host("10.1.0.0")));
  EXPECT_TRUE(Cidr::parse("", "fd00::/64").can_be_a_host(host("fd00::ffff:ffff:ffff:ffff")));
  EXPECT_EQ(Cidr::around("", "10.99.0.2/24").text(), "10.99.0.0/24");
  EXPECT_TRUE(Cidr::parse("", "0.0.0.0/0").contains(host("8.8.8.8")));
}

TEST(RandomMac, isUnderTheServersOwnPrefix) {
  const auto one = random_mac();
  EXPECT_EQ(one.substr(0, 9), "BC:24:11:");
  EXPECT_EQ(one, parse_mac("", one));
}

}  // namespace
}  // namespace px::network
