// Leases at work on a node with SDN: what is made, shared, waited for, removed, and what is left
// when any request goes wrong.
#include "network/leases.hpp"

#include "node_under_test.hpp"
#include "pve/client.hpp"
#include "run.hpp"
#include "support/json.hpp"
#include "support/log.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace px::network {
namespace {

using namespace std::chrono_literals;
using px::testing::error_of;
using px::testing::NodeUnderTest;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string run_id = "1a2b3c4d";

Plan fixed_plan(const std::string& alias = "lan", int net = 1) {
  return parse_plan(json::parse(fmt::format(R"({{"vnet_configs": [{{"alias": "{0}", "subnets": [
          {{"cidr": "10.{1}.0.0/24", "gateway": "10.{1}.0.1", "snat": false,
            "dhcp_ranges": [{{"start": "10.{1}.0.50", "end": "10.{1}.0.99"}}]}}]}}]}})",
                                            alias, net),
                                "the test"));
}

class LeasesOnNode : public ::testing::Test {
 public:
  LeasesOnNode() {
    log::set_level(log::Level::info);
    log::set_sink([this](log::Level, std::string_view line) { log_.emplace_back(line); });
  }
  ~LeasesOnNode() override { log::set_sink({}); }

  pve::Instance instance() const {
    const auto variables = node_.variables();
    pve::Instance out;
    out.host = variables.at("PROXMOX_HOST");
    out.port = node_.port();
    out.node = "proxmox";
    out.token_id = variables.at("PROXMOX_TOKEN_ID");
    out.token_secret = Secret{variables.at("PROXMOX_TOKEN_SECRET")};
    out.fingerprint = variables.at("PROXMOX_FINGERPRINT");
    return out;
  }

  /// A process with leases of its own.
  struct Process {
    Process(const asio::any_io_executor& executor, const LeasesOnNode& test, std::string run)
        : client{executor, pool, test.instance()},
          leases{client, {pve::NodeName::parse("proxmox")}, std::move(run)} {}
    asio::thread_pool pool{1};
    pve::Client client;
    Leases leases;
  };
  using Work = std::function<awaitable<void>(Process&)>;
  void with_process(Work work, std::string run = run_id) {
    auto body = [](const LeasesOnNode& test, Work inner, std::string id) -> awaitable<void> {
      Process process{co_await asio::this_coro::executor, test, id};
      co_await inner(process);
      co_await process.client.close();
    };
    px::testing::run(body(*this, std::move(work), std::move(run)));
  }

  json::array list(const std::string& path) const {
    return node_.call("GET", "/cluster/sdn" + path).data().as_array();
  }
  std::vector<std::string> names(const std::string& path, const char* key) const {
    std::vector<std::string> out;
    for (const auto& entry : list(path)) out.push_back(json::text_at(entry, key));
    return out;
  }
  /// All zones and VNets, those that wait to be removed too, and the lock.
  std::vector<std::string> everything() const {
    auto out = names("/zones?pending=1", "zone");
    for (auto& name : names("/vnets?pending=1", "vnet")) out.push_back(name);
    const auto lock = node_.call("POST", "/cluster/sdn/lock", "allow-pending=1");
    if (lock.status != 200) {
      out.push_back("the lock");
    } else {
      node_.call("DELETE", "/cluster/sdn/lock", "lock-token=" + lock.text());
    }
    return out;
  }
  std::vector<std::string> cidrs() const {
    std::vector<std::string> out;
    for (const auto& vnet : names("/vnets", "vnet")) {
      for (auto& cidr : names("/vnets/" + vnet + "/subnets", "cidr")) out.push_back(cidr);
    }
    return out;
  }
  void control(const std::string& path, const std::string& form = "") {
    const auto reply = node_.send("POST", "/_control/" + path,
                                  {{"Content-Type", "application/x-www-form-urlencoded"}}, form);
    ASSERT_EQ(reply.status, 200) << reply.body;
  }
  std::int64_t requests(const std::string& route = "") const {
    const auto counted = node_.send("GET", "/_control/requests", {}).data();
    if (route.empty()) return json::number_at(counted, "total");
    return json::number_or(counted.at("requests"), route, 0);
  }
  /// A zone with a VNet of somebody else.
  void make_strangers_network(const std::string& cidr, const std::string& alias = "office") const {
    node_.call("POST", "/cluster/sdn/zones", "zone=office&type=simple");
    node_.call("POST", "/cluster/sdn/vnets",
               "zone=office&vnet=office&alias=" + percent_encode(alias));
    const auto made = node_.call("POST", "/cluster/sdn/vnets/office/subnets",
                                 "type=subnet&gateway=" + cidr.substr(0, cidr.find('/') - 1) +
                                     "1&subnet=" + percent_encode(cidr));
    ASSERT_EQ(made.status, 200) << made.body;
    node_.end_of_task(node_.call("PUT", "/cluster/sdn").text());
  }

  NodeUnderTest node_;
  std::vector<std::string> log_;
};

TEST(FairShare, leavesRangesToOthersButIsNeverNothing) {
  EXPECT_EQ(fair_share(10, 252), 10U);
  EXPECT_EQ(fair_share(10, 100), 6U);
  EXPECT_EQ(fair_share(10, 15), 1U);
  EXPECT_EQ(fair_share(10, 0), 0U);
}

/// A server whose ranges are all taken, but for 192.168.3.0/24.
TEST_F(LeasesOnNode, areWaitedForWhereNoRangeIsFreeForMore) {
  make_strangers_network("192.168.128.0/17");
  for (const auto* cidr : {"192.168.64.0/18", "192.168.32.0/19", "192.168.16.0/20",
                           "192.168.8.0/21", "192.168.4.0/22", "192.168.2.0/24"}) {
    const std::string text{cidr};
    const auto made = node_.call("POST", "/cluster/sdn/vnets/office/subnets",
                                 "type=subnet&gateway=" + text.substr(0, text.find('/') - 1) +
                                     "1&subnet=" + percent_encode(text));
    ASSERT_EQ(made.status, 200) << made.body;
  }
  with_process([this](Process& process) -> awaitable<void> {
    auto& leases = process.leases;
    const auto first = co_await leases.lease(parse_plan("auto"), "task");
    EXPECT_THAT(cidrs(), Contains("192.168.3.0/24"));
    auto end_first = [](Leases& of, SharedSet set) -> awaitable<void> {
      co_await sleep_for(300ms);
      of.give_back(set);
    };
    auto lease_second = [](Leases& of, SharedSet expected) -> awaitable<void> {
      const auto second = co_await of.lease(parse_plan("auto"), "task");
      EXPECT_EQ(second, expected);
      of.give_back(second);
    };
    std::vector<awaitable<void>> work;
    work.push_back(lease_second(leases, first));
    work.push_back(end_first(leases, first));
    co_await all(std::move(work));
    co_await leases.remove_free();
  });
  EXPECT_THAT(log_, Contains(HasSubstr("a sample waits for networks, as no range is free, on")));
  with_process(
      [this](Process& process) -> awaitable<void> {
        node_.call("POST", "/cluster/sdn/vnets/office/subnets",
                   "type=subnet&gateway=192.168.3.1&subnet=192.168.3.0%2F24");
        const auto error = co_await error_of(process.leases.lease(parse_plan("auto"), "task"));
        EXPECT_EQ(error.kind, Errc::unavailable) << "nothing of this run's can become free";
      },
      "0badc0de");
}

TEST_F(LeasesOnNode, makesNoMoreSetsThanSamplesFit) {
  with_process([this](Process& process) -> awaitable<void> {
    co_await process.leases.prepare(parse_plan("auto"), "task", 3);
    EXPECT_EQ(list("/zones").size(), 3U);
  });
}

TEST_F(LeasesOnNode, makesATasksSetsWithOneApplyAndRemovesThemWithAnother) {
  with_process([this](Process& process) -> awaitable<void> {
    const auto plan = parse_plan("auto");
    co_await process.leases.prepare(plan, "My task", 10);
    EXPECT_EQ(requests("PUT /cluster/sdn"), 1);
    EXPECT_EQ(list("/zones").size(), 10U);
    const auto ranges = cidrs();
    EXPECT_EQ(std::set(ranges.begin(), ranges.end()).size(), 10U) << "no range twice";
    for (const auto& vnet : list("/vnets?running=1")) {
      EXPECT_THAT(json::text_at(vnet, "vnet"), ::testing::MatchesRegex("myt[0-9]{3}v0"));
      EXPECT_EQ(json::text_at(vnet, "alias"), "[inspect-run-1a2b3c4d]");
    }
    co_await process.leases.prepare(plan, "another", 10);
    EXPECT_EQ(requests("PUT /cluster/sdn"), 1) << "they are there";
    co_await process.leases.remove_free();
    EXPECT_EQ(requests("PUT /cluster/sdn"), 2);
    EXPECT_THAT(everything(), IsEmpty());
  });
}

TEST_F(LeasesOnNode, aSampleCostsNoRequest) {
  with_process([this](Process& process) -> awaitable<void> {
    const auto plan = parse_plan("auto");
    co_await process.leases.prepare(plan, "", 10);
    control("reset");
    const auto first = co_await process.leases.lease(plan, "");
    const auto second = co_await process.leases.lease(plan, "");
    EXPECT_NE(first, second);
    process.leases.give_back(first);
    EXPECT_EQ(co_await process.leases.lease(plan, ""), first);
    EXPECT_EQ(requests(), 0);
  });
}

TEST_F(LeasesOnNode, makesMoreForAllWhoWaitWithOneApply) {
  with_process([this](Process& process) -> awaitable<void> {
    const auto plan = parse_plan("auto");
    std::vector<SharedSet> sets(25);
    auto take = [](Process& from, const Plan& what, SharedSet& out) -> awaitable<void> {
      out = co_await from.leases.lease(what, "task");
    };
    std::vector<awaitable<void>> work;
    for (auto& set : sets) work.push_back(take(process, plan, set));
    co_await all(std::move(work));
    EXPECT_EQ(std::set(sets.begin(), sets.end()).size(), 25U);
    EXPECT_EQ(requests("PUT /cluster/sdn"), 2) << "the first knew of no other";
    for (const auto& set : sets) process.leases.give_back(set);
    co_await process.leases.remove_free();
    EXPECT_THAT(everything(), IsEmpty());
  });
}

TEST_F(LeasesOnNode, twoProcessesShareNoRange) {
  auto both = [](const LeasesOnNode& test) -> awaitable<void> {
    const auto executor = co_await asio::this_coro::executor;
    Process one{executor, test, run_id};
    Process other{executor, test, "00000000"};
    std::vector<awaitable<void>> work;
    work.push_back(one.leases.prepare(parse_plan("auto"), "same", 10));
    work.push_back(other.leases.prepare(parse_plan("auto"), "same", 10));
    co_await all(std::move(work));
    const auto ranges = test.cidrs();
    EXPECT_EQ(ranges.size(), 20U);
    EXPECT_EQ(std::set(ranges.begin(), ranges.end()).size(), 20U);
    co_await one.leases.remove_free();
    EXPECT_EQ(test.cidrs().size(), 10U) << "the other's are untouched";
    co_await other.leases.remove_free();
  };
  px::testing::run(both(*this));
  EXPECT_THAT(everything(), IsEmpty());
}

TEST_F(LeasesOnNode, waitsForAFixedRangeInTheOrderOfAsking) {
  with_process([](Process& process) -> awaitable<void> {
    const auto plan = fixed_plan();
    co_await process.leases.prepare(plan, "task", 10);
    const auto set = co_await process.leases.lease(plan, "task");
    std::string order;
    auto wait = [](Process& from, const Plan& what, std::string& out,
                   char name) -> awaitable<void> {
      const auto got = co_await from.leases.lease(what, "task");
      out += name;
      co_await sleep_for(20ms);
      from.leases.give_back(got);
    };
    auto free = [](Process& from, const SharedSet& what) -> awaitable<void> {
      co_await sleep_for(100ms);
      from.leases.give_back(what);
    };
    std::vector<awaitable<void>> work;
    work.push_back(wait(process, plan, order, 'a'));
    work.push_back(wait(process, plan, order, 'b'));
    work.push_back(wait(process, plan, order, 'c'));
    work.push_back(free(process, set));
    co_await all(std::move(work));
    EXPECT_EQ(order, "abc");
  });
  EXPECT_THAT(log_, Contains(HasSubstr("a sample waits for the networks with fixed ranges")));
}

TEST_F(LeasesOnNode, replacesAnUnusedSetWhoseRangesAreInTheWay) {
  with_process([this](Process& process) -> awaitable<void> {
    co_await process.leases.prepare(fixed_plan("lan"), "task", 10);
    co_await process.leases.prepare(fixed_plan("dmz"), "task", 10);
    EXPECT_THAT(cidrs(), ElementsAre("10.1.0.0/24"));
    EXPECT_EQ(json::text_at(list("/vnets").at(0), "alias"), "dmz [inspect-run-1a2b3c4d]");
  });
}

TEST_F(LeasesOnNode, refusesARangeOfAStrangerNamingFieldAndOwner) {
  make_strangers_network("10.1.0.0/24");
  with_process([](Process& process) -> awaitable<void> {
    std::optional<Error> failure;
    try {
      co_await process.leases.prepare(fixed_plan(), "task", 10);
    } catch (const Error& error) {
      failure = error;
    }
    EXPECT_TRUE(failure);
    if (!failure) co_return;
    EXPECT_EQ(failure->kind, Errc::bad_input);
    EXPECT_THAT(failure->what(),
                HasSubstr("sdn_config.vnet_configs[0].subnets[0].cidr: is \"10.1.0.0/24\"; "
                          "10.1.0.0/24 on 127.0.0.1 belongs to VNet office (office) in zone "
                          "office"));
  });
  EXPECT_THAT(everything(), ElementsAre("office", "office"));
}

TEST_F(LeasesOnNode, waitsForARangeOfAnotherRun) {
  make_strangers_network("10.1.0.0/24", mark_alias("lan", "00000000"));
  with_process([this](Process& process) -> awaitable<void> {
    co_await process.leases.prepare(fixed_plan(), "task", 10);
    EXPECT_THAT(log_, Contains(HasSubstr("10.1.0.0/24 on 127.0.0.1 is in use by VNet office")));
    auto end_other_run = [](const LeasesOnNode& test) -> awaitable<void> {
      co_await sleep_for(300ms);
      test.node_.call("DELETE", "/cluster/sdn/vnets/office/subnets/office-10.1.0.0-24");
      test.node_.call("DELETE", "/cluster/sdn/vnets/office");
    };
    auto lease = [](Process& from) -> awaitable<void> {
      EXPECT_TRUE(co_await from.leases.lease(fixed_plan(), "task"));
    };
    std::vector<awaitable<void>> work;
    work.push_back(lease(process));
    work.push_back(end_other_run(*this));
    co_await all(std::move(work));
  });
}

TEST_F(LeasesOnNode, saysThatOthersChangesAreAppliedToo) {
  node_.call("POST", "/cluster/sdn/zones", "zone=office&type=simple");
  with_process([](Process& process) -> awaitable<void> {
    co_await process.leases.prepare(fixed_plan(), "task", 10);
  });
  EXPECT_THAT(log_, Contains(HasSubstr("are applied with ours: zone office (new)")));
}

TEST_F(LeasesOnNode, waitsForTheLocksHolder) {
  const auto token = node_.call("POST", "/cluster/sdn/lock").text();
  with_process([&](Process& process) -> awaitable<void> {
    auto release = [](const LeasesOnNode& test, std::string of) -> awaitable<void> {
      co_await sleep_for(300ms);
      EXPECT_THAT(test.names("/zones?pending=1", "zone"), IsEmpty());
      test.node_.call("DELETE", "/cluster/sdn/lock", "lock-token=" + of);
    };
    std::vector<awaitable<void>> work;
    work.push_back(process.leases.prepare(fixed_plan(), "task", 10));
    work.push_back(release(*this, token));
    co_await all(std::move(work));
    EXPECT_EQ(list("/zones").size(), 1U);
  });
}

TEST_F(LeasesOnNode, thatAreCancelledWhileTheyAreMadeLeaveNothing) {
  for (const auto after : {0ms, 20ms, 40ms, 80ms, 160ms}) {
    with_process([after](Process& process) -> awaitable<void> {
      try {
        co_await with_deadline(process.leases.prepare(parse_plan("auto"), "task", 10),
                               Deadline::after(after), "the test");
      } catch (const Error&) {
      }
      co_await process.leases.remove_free();
    });
    EXPECT_THAT(everything(), IsEmpty()) << after.count();
  }
}

}  // namespace
}  // namespace px::network
