// The firewall's configuration: what its routes take, refuse, keep and tell, and what becomes of it
// for nft(8). Packets are in firewall_packets_test.cpp.
#include "node/firewall/guest_filter.hpp"
#include "node/vm_api.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::node {
namespace {

using node::testing::Params;
using node::testing::VmApi;
using node::testing::with_node;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string groups = "/cluster/firewall/groups";
const std::string vm = "/nodes/pve1/qemu/101/firewall";
const std::string vnet = "/cluster/sdn/vnets/v1/firewall";

Params rule(std::string type, std::string action, Params more = {}) {
  more.insert(more.end(), {{"type", std::move(type)}, {"action", std::move(action)}});
  return more;
}

/// VM 101, VNet v1, the group `used` with a rule.
awaitable<void> make_world(VmApi& api) {
  EXPECT_EQ(co_await api.task("POST", "", {{"vmid", "101"}, {"name", "one"}}), "OK");
  co_await api.send("POST", "/cluster/sdn/zones", {{"zone", "z1"}, {"type", "simple"}});
  co_await api.send("POST", "/cluster/sdn/vnets", {{"vnet", "v1"}, {"zone", "z1"}});
  EXPECT_EQ(co_await api.end_of(co_await api.send("PUT", "/cluster/sdn")), "OK");
  co_await api.send("POST", groups, {{"group", "used"}});
  co_await api.send("POST", groups + "/used", rule("out", "DROP"));
}

struct Row {
  std::string name;
  std::string method;
  std::string path;
  Params params;
  std::string refusal;  ///< empty: it is taken
};
std::ostream& operator<<(std::ostream& out, const Row& row) {
  return out << row.name;
}

class FirewallRequests : public ::testing::TestWithParam<Row> {};

TEST_P(FirewallRequests, areTakenOrRefusedInTheRealServersWords) {
  with_node([](VmApi& api) -> awaitable<void> {
    co_await make_world(api);
    const Row& row = GetParam();
    const auto refusal = co_await api.refused(row.method, row.path, row.params);
    if (row.refusal.empty()) {
      EXPECT_EQ(refusal, "");
    } else {
      EXPECT_THAT(refusal, HasSubstr(row.refusal));
    }
  });
}

const std::string rules = vm + "/rules";

INSTANTIATE_TEST_SUITE_P(
    Rules, FirewallRequests,
    ::testing::Values(
        Row{"a list of networks", "POST", rules,
            rule("out", "ACCEPT", {{"dest", "10.0.0.0/8,192.168.1.1"}}), ""},
        Row{"everything", "POST", rules, rule("out", "ACCEPT", {{"dest", "0.0.0.0/0"}}), ""},
        Row{"one range", "POST", rules, rule("in", "DROP", {{"source", "10.0.0.1-10.0.0.9"}}), ""},
        Row{"a group that is not there", "POST", rules, rule("group", "missing"), ""},
        Row{"ports of TCP", "POST", rules,
            rule("out", "ACCEPT", {{"proto", "tcp"}, {"dport", "443,8000:8010"}}), ""},
        Row{"no address", "POST", rules, rule("out", "DROP", {{"dest", "nonsense!"}}),
            "400 Parameter verification failed.|dest: invalid format - invalid IP address: Invalid "
            "chars in IP nonsense!\n"},
        Row{"host bits", "POST", rules, rule("out", "DROP", {{"dest", "10.0.0.5/24"}}),
            "dest: invalid format - invalid IP address: Invalid prefix 00000101/24"},
        Row{"a range in a list", "POST", rules,
            rule("out", "DROP", {{"dest", "10.0.0.1-10.0.0.9,10.1.0.0/16"}}),
            "dest: invalid format - you can't use a range in a list"},
        Row{"a range that runs backwards", "POST", rules,
            rule("out", "DROP", {{"dest", "10.0.0.9-10.0.0.1"}}), "dest: invalid format"},
        Row{"both versions in a list", "POST", rules,
            rule("out", "DROP", {{"dest", "10.0.0.1,fe80::1"}}),
            "detected mixed ipv4/ipv6 addresses in address list '10.0.0.1,fe80::1'"},
        Row{"both versions in a rule", "POST", rules,
            rule("out", "DROP", {{"source", "10.0.0.1"}, {"dest", "fe80::1"}}),
            "dest: detected mixed ipv4/ipv6 addresses in rule"},
        Row{"more than 512 characters", "POST", rules,
            rule("out", "DROP", {{"dest", "10.0.0.1" + std::string(60 * 9, ',')}}), "400 "},
        Row{"an alias that is not there", "POST", rules, rule("out", "DROP", {{"dest", "mine"}}),
            "dest: no such alias 'mine'"},
        Row{"an IP set that is not there", "POST", rules,
            rule("out", "DROP", {{"dest", "+sdn/v1-all"}}), "dest: no such ipset 'v1-all'"},
        Row{"ports without a protocol", "POST", rules, rule("out", "DROP", {{"dport", "80"}}),
            "proto: missing property - 'dport' requires this property"},
        Row{"ports of ICMP", "POST", rules,
            rule("out", "DROP", {{"proto", "esp"}, {"sport", "80"}}),
            "sport: protocol 'esp' does not support ports"},
        Row{"a port that is none", "POST", rules,
            rule("out", "DROP", {{"proto", "tcp"}, {"dport", "70000"}}),
            "dport: invalid format - invalid port '70000'"},
        Row{"ports backwards", "POST", rules,
            rule("out", "DROP", {{"proto", "tcp"}, {"dport", "90:80"}}),
            "backwards range '90:80' not allowed, did you mean '80:90'?"},
        Row{"sixteen ports", "POST", rules,
            rule("out", "DROP",
                 {{"proto", "tcp"}, {"dport", "1:2,3:4,5:6,7:8,9:10,11:12,13:14,15:16"}}),
            "too many entries in port list (> 15 numbers)"},
        Row{"an unknown protocol", "POST", rules, rule("out", "DROP", {{"proto", "quic"}}),
            "proto: invalid format - unknown protocol 'quic'"},
        Row{"an unknown action", "POST", rules, rule("out", "nogroup"),
            "action: unknown action 'nogroup'"},
        Row{"an interface of another kind", "POST", rules, rule("out", "DROP", {{"iface", "eth0"}}),
            "iface: value does not match the regex pattern 'net\\d+'"},
        Row{"a rule of another place", "POST", rules, rule("forward", "DROP"),
            "type: invalid rule type 'forward' for rule_env 'vm'"},
        Row{"a macro", "POST", rules, rule("in", "ACCEPT", {{"macro", "SSH"}}),
            "501 the local node's firewall has no rules with 'macro'"},
        Row{"no rule there", "DELETE", rules + "/7", {}, "500 no rule at position 7"}));

INSTANTIATE_TEST_SUITE_P(
    Objects, FirewallRequests,
    ::testing::Values(
        Row{"a policy that is none",
            "PUT",
            vm + "/options",
            {{"policy_in", "BOGUS"}},
            "policy_in: value 'BOGUS' does not have a value in the enumeration 'ACCEPT, REJECT, "
            "DROP'"},
        Row{"an option that is none",
            "PUT",
            vm + "/options",
            {{"delete", "colour"}},
            "delete: no such option 'colour'"},
        Row{"an outdated digest",
            "PUT",
            vm + "/options",
            {{"enable", "1"}, {"digest", "abc"}},
            "500 detected modified configuration"},
        Row{"a group's name of 19 characters",
            "POST",
            groups,
            {{"group", std::string(19, 'x')}},
            "group: value may only be 18 characters long"},
        Row{"a group's name with a dot",
            "POST",
            groups,
            {{"group", "a.b"}},
            "group: value does not match the regex pattern"},
        Row{"a group twice",
            "POST",
            groups,
            {{"group", "used"}},
            "group: Security group 'used' already exists"},
        Row{"a group with rules",
            "DELETE",
            groups + "/used",
            {},
            "500 Security group 'used' is not empty"},
        Row{"a group that is not there",
            "GET",
            groups + "/none",
            {},
            "500 no such security group 'none'"},
        Row{"a group in a group", "POST", groups + "/used", rule("group", "used"),
            "type: invalid rule type 'group' for rule_env 'group'"},
        Row{"an interface in a group", "POST", groups + "/used",
            rule("in", "DROP", {{"iface", "net0"}}),
            "type: parameter -i not allowed for this rule type"},
        Row{"a direction in a VNet", "POST", vnet + "/rules", rule("in", "DROP"),
            "type: invalid rule type 'in' for rule_env 'vnet'"},
        Row{"refusing what passes by", "POST", vnet + "/rules", rule("forward", "REJECT"),
            "action: cannot define REJECT rules on forward chain"},
        Row{"a VNet that is not there",
            "GET",
            "/cluster/sdn/vnets/v9/firewall/options",
            {},
            "500 invalid vnet specified"},
        Row{"a VM that is not there",
            "PUT",
            "/nodes/pve1/qemu/999/firewall/options",
            {{"enable", "1"}},
            ""},
        Row{"an IP set that is not there",
            "POST",
            vm + "/ipset/none",
            {{"cidr", "10.0.0.1"}},
            "500 no such IPSet 'none'"},
        Row{"the node's options", "PUT", "/nodes/pve1/firewall/options", {{"nftables", "1"}}, ""}));

/// "ACCEPT 10.0.0.0/8": the rules in their order.
awaitable<std::vector<std::string>> listed(VmApi& api, std::string path) {
  std::vector<std::string> out;
  const json::value all = co_await api.send("GET", std::move(path));
  for (const auto& entry : all.as_array()) {
    EXPECT_EQ(json::number_at(entry, "pos"), static_cast<std::int64_t>(out.size()));
    out.push_back(json::text_at(entry, "action") + " " + json::text_or(entry, "dest"));
  }
  co_return out;
}

TEST(FirewallConfiguration, putsNewRulesFirstAndMovesThem) {
  with_node([](VmApi& api) -> awaitable<void> {
    for (const auto* dest : {"10.3.0.0/16", "10.2.0.0/16", "10.1.0.0/16"}) {
      co_await api.send("POST", rules, rule("out", "DROP", {{"dest", dest}}));
    }
    EXPECT_THAT(co_await listed(api, rules),
                ElementsAre("DROP 10.1.0.0/16", "DROP 10.2.0.0/16", "DROP 10.3.0.0/16"));
    co_await api.send("PUT", rules + "/0", {{"moveto", "2"}});
    EXPECT_THAT(co_await listed(api, rules),
                ElementsAre("DROP 10.2.0.0/16", "DROP 10.1.0.0/16", "DROP 10.3.0.0/16"));
    co_await api.send("PUT", rules + "/2", {{"moveto", "0"}});
    EXPECT_THAT(co_await listed(api, rules),
                ElementsAre("DROP 10.3.0.0/16", "DROP 10.2.0.0/16", "DROP 10.1.0.0/16"));
    co_await api.send("PUT", rules + "/1", {{"action", "ACCEPT"}, {"delete", "dest"}});
    co_await api.send("DELETE", rules + "/0");
    EXPECT_THAT(co_await listed(api, rules), ElementsAre("ACCEPT ", "DROP 10.1.0.0/16"));
    const json::value one = co_await api.send("GET", rules + "/1");
    EXPECT_EQ(json::number_at(one, "enable"), 0) << "a rule is off unless it says otherwise";
    EXPECT_EQ(json::number_at(one, "ipversion"), 4);
    EXPECT_EQ(
        co_await api.refused("DELETE", rules + "/1", {{"digest", json::text_at(one, "digest")}}),
        "");
  });
}

TEST(FirewallConfiguration, isClonedAndDestroyedWithItsVmAndSurvivesARestart) {
  const node::testing::TemporaryDirectory directory;
  with_node(directory.path(), [](VmApi& api) -> awaitable<void> {
    co_await make_world(api);
    co_await api.send("PUT", vm + "/options", {{"enable", "1"}, {"policy_out", "DROP"}});
    co_await api.send("POST", rules, rule("group", "used"));
    co_await api.send("PUT", vnet + "/options", {{"enable", "1"}});
    EXPECT_EQ(co_await api.task("POST", "/101/clone", {{"newid", "102"}}), "OK");
    EXPECT_EQ(co_await api.task("DELETE", "/101"), "OK");
    EXPECT_EQ(boost::json::serialize(co_await api.send("GET", vm + "/options")),
              R"({"digest":"da39a3ee5e6b4b0d3255bfef95601890afd80709"})");
    co_await api.send("DELETE", "/cluster/sdn/vnets/v1");
    EXPECT_EQ(co_await api.end_of(co_await api.send("PUT", "/cluster/sdn")), "OK");
  });
  with_node(directory.path(), [](VmApi& api) -> awaitable<void> {
    const json::value options = co_await api.vm("GET", "/102/firewall/options");
    EXPECT_EQ(json::text_at(options, "policy_out"), "DROP");
    EXPECT_THAT(co_await listed(api, "/nodes/pve1/qemu/102/firewall/rules"), ElementsAre("used "));
    EXPECT_THAT(co_await listed(api, groups + "/used"), ElementsAre("DROP "));
    co_await api.send("POST", "/cluster/sdn/vnets", {{"vnet", "v1"}, {"zone", "z1"}});
    EXPECT_EQ(co_await api.end_of(co_await api.send("PUT", "/cluster/sdn")), "OK");
    const json::value inherited = co_await api.send("GET", vnet + "/options");
    EXPECT_EQ(json::number_at(inherited, "enable"), 1) << "of the VNet that had this name";
  });
}

TEST(FirewallConfiguration, isArmedOnANewNodeUntilSomebodyTurnsItOff) {
  const node::testing::TemporaryDirectory directory;
  with_node(directory.path(), [](VmApi& api) -> awaitable<void> {
    const json::value options = co_await api.send("GET", "/cluster/firewall/options");
    EXPECT_EQ(json::number_at(options, "enable"), 1);
    EXPECT_EQ(json::text_at(options, "policy_in"), "ACCEPT");
    co_await api.send("PUT", "/cluster/firewall/options", {{"delete", "enable,policy_in"}});
  });
  with_node(directory.path(), [](VmApi& api) -> awaitable<void> {
    const json::value options = co_await api.send("GET", "/cluster/firewall/options");
    EXPECT_FALSE(options.as_object().contains("enable"));
  });
}

TEST(FirewallConfiguration, renamesAGroupWhereItIsUsed) {
  with_node([](VmApi& api) -> awaitable<void> {
    co_await make_world(api);
    co_await api.send("POST", rules, rule("group", "used"));
    co_await api.send("POST", groups, {{"group", "better"}, {"rename", "used"}, {"comment", "c"}});
    EXPECT_THAT(co_await listed(api, rules), ElementsAre("better "));
    EXPECT_THAT(co_await listed(api, groups + "/better"), ElementsAre("DROP "));
    EXPECT_THAT(boost::json::serialize(co_await api.send("GET", groups)),
                HasSubstr(R"("group":"better","comment":"c")"));
  });
}

TEST(FirewallConfiguration, namesAddressesByAliasesAndSets) {
  with_node([](VmApi& api) -> awaitable<void> {
    co_await api.send("POST", vm + "/aliases", {{"name", "Inner"}, {"cidr", "10.0.0.0/8"}});
    co_await api.send("POST", vm + "/ipset", {{"name", "hosts"}});
    co_await api.send("POST", vm + "/ipset/hosts", {{"cidr", "10.1.2.3/16"}});
    co_await api.send("POST", vm + "/ipset/hosts", {{"cidr", "inner"}});
    EXPECT_THAT(co_await api.refused("POST", vm + "/ipset/hosts", {{"cidr", "10.1.0.0/16"}}),
                HasSubstr("cidr: address '10.1.0.0/16' already exists"));
    co_await api.send("POST", rules, rule("out", "DROP", {{"dest", "guest/inner"}}));
    co_await api.send("POST", rules, rule("out", "DROP", {{"dest", "+hosts"}}));
    const json::value refs = co_await api.send("GET", vm + "/refs");
    EXPECT_EQ(refs.as_array().size(), 2U);
    EXPECT_THAT(co_await api.refused("DELETE", vm + "/ipset/hosts", {}),
                HasSubstr("500 IPSet 'hosts' is not empty"));
    co_await api.send("DELETE", vm + "/ipset/hosts/inner");
    co_await api.send("DELETE", vm + "/ipset/hosts", {{"force", "1"}});
    co_await api.send("DELETE", vm + "/aliases/INNER");
    EXPECT_EQ(boost::json::serialize(co_await api.send("GET", vm + "/aliases")), "[]");
  });
}

/// The lines of one chain of a card's filter, without their indentation.
std::string chain_of(const std::string& text, const std::string& chain) {
  const auto begin = text.rfind(fmt::format("  chain {} {{\n", chain));
  const auto first = text.find('\n', begin) + 1;
  return text.substr(first, text.find("\n  }", first) + 1 - first);
}

class CardFilter : public ::testing::Test {
 protected:
  std::string lines(const char* direction, const json::object& options, FirewallRules own) {
    for (auto& entry : own) entry.emplace("enable", 1);
    FirewallFile file = vm_;
    file.options = options;
    file.rules = std::move(own);
    const FilteredCard card{"tap101i0", "net0", "BC:24:11:00:00:01"};
    return chain_of(card_filter(card, datacenter_, file), fmt::format("tap101i0-{}", direction));
  }
  static json::object rule(const char* type, const char* action, json::object more = {}) {
    more["type"] = type;
    more["action"] = action;
    return more;
  }

  FirewallFile datacenter_;
  FirewallFile vm_;
};

struct RuleRow {
  std::string name;
  json::object rule;
  std::string line;  ///< empty: it leaves none
};
std::ostream& operator<<(std::ostream& out, const RuleRow& row) {
  return out << row.name;
}

class CardFilterRules : public CardFilter, public ::testing::WithParamInterface<RuleRow> {};

TEST_P(CardFilterRules, becomeLines) {
  vm_.aliases["inner"] = {{"name", "Inner"}, {"cidr", "10.0.0.0/8"}};
  vm_.ipsets["mixed"].entries = {{{"cidr", "10.1.0.0/16"}},
                                 {{"cidr", "10.1.1.1"}, {"nomatch", 1}},
                                 {{"cidr", "fd00::/8"}},
                                 {{"cidr", "Inner"}}};
  auto tried = GetParam().rule;
  tried.emplace("type", "out");
  tried.emplace("action", "ACCEPT");
  const auto without = lines("out", {{"policy_out", "DROP"}}, {});
  const auto with_rule = lines("out", {{"policy_out", "DROP"}}, {tried});
  const auto policy = std::string{"    drop\n"};
  ASSERT_TRUE(without.ends_with(policy));
  EXPECT_EQ(with_rule,
            without.substr(0, without.size() - policy.size()) + GetParam().line + policy);
}

INSTANTIATE_TEST_SUITE_P(
    All, CardFilterRules,
    ::testing::Values(
        RuleRow{"everything", {}, "    goto tap101i0-keep\n"},
        RuleRow{"a drop",
                {{"action", "DROP"}, {"dest", "10.0.0.1"}},
                "    ip daddr { 10.0.0.1 } drop\n"},
        RuleRow{"a refusal is a drop", {{"action", "REJECT"}}, "    drop\n"},
        RuleRow{"the other direction", {{"type", "in"}}, ""},
        RuleRow{"a rule that is off", {{"enable", 0}}, ""},
        RuleRow{"another card's", {{"iface", "net1"}}, ""},
        RuleRow{"this card's", {{"iface", "net0"}}, "    goto tap101i0-keep\n"},
        RuleRow{"a list",
                {{"dest", "10.0.0.0/8,192.168.0.0/16"}},
                "    ip daddr { 10.0.0.0/8, 192.168.0.0/16 } goto tap101i0-keep\n"},
        RuleRow{"a range",
                {{"source", "10.0.0.1-10.0.0.9"}},
                "    ip saddr { 10.0.0.1-10.0.0.9 } goto tap101i0-keep\n"},
        RuleRow{
            "IPv6", {{"dest", "fe80::/10"}}, "    ip6 daddr { fe80::/10 } goto tap101i0-keep\n"},
        RuleRow{"all of a version",
                {{"dest", "0.0.0.0/0"}},
                "    meta protocol ip goto tap101i0-keep\n"},
        RuleRow{"both ends",
                {{"source", "10.0.0.1"}, {"dest", "10.0.0.2"}},
                "    ip saddr { 10.0.0.1 } ip daddr { 10.0.0.2 } goto tap101i0-keep\n"},
        RuleRow{"ports",
                {{"proto", "tcp"}, {"dport", "443,8000:8010"}, {"sport", "1024"}},
                "    meta l4proto 6 th sport { 1024 } th dport { 443, 8000-8010 } goto "
                "tap101i0-keep\n"},
        RuleRow{"ports of an address",
                {{"proto", "udp"}, {"dport", "53"}, {"dest", "10.0.0.1"}},
                "    ip daddr { 10.0.0.1 } meta l4proto 17 th dport { 53 } goto tap101i0-keep\n"},
        RuleRow{"a protocol", {{"proto", "ipv6-icmp"}}, "    meta l4proto 58 goto tap101i0-keep\n"},
        RuleRow{
            "an alias", {{"dest", "inner"}}, "    ip daddr { 10.0.0.0/8 } goto tap101i0-keep\n"},
        RuleRow{"a set",
                {{"dest", "+mixed"}},
                "    ip daddr { 10.1.0.0/16, 10.0.0.0/8 } ip daddr != { 10.1.1.1 } goto "
                "tap101i0-keep\n    ip6 daddr { fd00::/8 } goto tap101i0-keep\n"},
        RuleRow{"a set that is gone", {{"dest", "+none"}}, ""},
        RuleRow{"a group that is not there", {{"type", "group"}, {"action", "none"}}, ""}));

TEST_F(CardFilter, holdsTheRulesOfItsGroupsInTheirPlace) {
  auto drop = rule("out", "DROP", {{"dest", "10.0.0.1"}});
  auto in = rule("in", "ACCEPT");
  drop["enable"] = in["enable"] = 1;
  datacenter_.groups["g"].rules = {drop, in};
  const FirewallRules own{rule("out", "DROP", {{"dest", "10.9.9.9"}}), rule("group", "g"),
                          rule("out", "DROP", {{"dest", "10.8.8.8"}})};
  EXPECT_THAT(lines("out", {}, own), HasSubstr("    ip daddr { 10.9.9.9 } drop\n"
                                               "    ip daddr { 10.0.0.1 } drop\n"
                                               "    ip daddr { 10.8.8.8 } drop\n"
                                               "    goto tap101i0-keep\n"))
      << "policy_out is ACCEPT";
  const auto inward = lines("in", {}, own);
  EXPECT_TRUE(inward.ends_with("    goto tap101i0-keep\n    drop\n")) << inward;
}

TEST_F(CardFilter, doesWhatItsOptionsSay) {
  EXPECT_THAT(lines("out", {}, {}), HasSubstr("ether saddr != BC:24:11:00:00:01 drop"));
  EXPECT_THAT(lines("out", {{"macfilter", 0}}, {}), Not(HasSubstr("ether saddr")));
  EXPECT_THAT(lines("out", {}, {}), HasSubstr("udp sport 68 udp dport 67 accept"));
  EXPECT_THAT(lines("out", {{"dhcp", 0}}, {}), Not(HasSubstr("dport 67")));
  EXPECT_THAT(lines("in", {{"dhcp", 0}}, {}), Not(HasSubstr("dport 68")));
  EXPECT_THAT(lines("out", {}, {}), HasSubstr("nd-neighbor-solicit"));
  EXPECT_THAT(lines("out", {{"ndp", 0}}, {}), Not(HasSubstr("nd-neighbor-solicit")));
  EXPECT_THAT(lines("out", {}, {}), HasSubstr("nd-router-advert, nd-redirect } drop"));
  EXPECT_THAT(lines("out", {{"radv", 1}}, {}), Not(HasSubstr("nd-redirect")));
  EXPECT_THAT(lines("out", {{"ipfilter", 1}}, {}), HasSubstr("meta protocol { ip, arp } drop"));
  EXPECT_THAT(lines("out", {{"ipfilter", 1}}, {}),
              HasSubstr("ip6 saddr != { ::, fe80::be24:11ff:fe00:1 } drop"));
}

}  // namespace
}  // namespace px::node
