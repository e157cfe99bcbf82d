// What other machines know of a run, by the record that it keeps on its server.
#include "sandbox/lease.hpp"

#include "sandbox/belongings.hpp"
#include "sandbox/cleanup.hpp"
#include "sandbox/run_record.hpp"
#include "sandbox/vm_on_node.hpp"

namespace px::sandbox {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::IsEmpty;

const std::string lease_spec =
    R"({"vms_config": [{"vm_source_config": {"built_in": "debian13-small"}}]})";

/// Two machines, A and B, and the node that both use.
class TwoMachines : public VmOnNode {
 public:
  Environment of_machine(const px::testing::TemporaryDirectory& home) {
    auto variables = node_.variables();
    variables["XDG_STATE_HOME"] = home.path().string();
    variables["PROXMOX_NODE"] = "proxmox";
    return px::testing::environment_of(variables);
  }
  Environment a() { return of_machine(home_of_a_); }
  Environment b() { return of_machine(home_of_b_); }

  awaitable<std::shared_ptr<pve::Client>> client() {
    co_return std::make_shared<pve::Client>(co_await asio::this_coro::executor, pool_,
                                            read_instances(b()).front());
  }
  /// What B knows of runs.
  awaitable<LifeOf> seen_by_b() {
    const auto with = co_await client();
    const auto records = co_await find_records(*with);
    co_await with->close();
    const auto here = [env = b()](const std::string& run) { return life_of(run, env); };
    co_return with_records(here, records);
  }
  awaitable<CleanupReport> clean_up_by_b(CleanupSelection selection) {
    const auto with = co_await client();
    const auto found = co_await find_belongings(*with, {pve::NodeName::parse("proxmox")});
    const auto records = co_await find_records(*with);
    const auto life = co_await seen_by_b();
    auto report = co_await clean_up(*with, choose(found, records, selection, life, Mark::now()));
    co_await with->close();
    co_return report;
  }
  awaitable<Belongings> found() {
    const auto with = co_await client();
    auto out = co_await find_belongings(*with, {pve::NodeName::parse("proxmox")});
    co_await with->close();
    co_return out;
  }
  std::vector<std::string> pools() {
    std::vector<std::string> out;
    const auto all = node_.call("GET", "/pools").data();
    for (const auto& pool : all.as_array()) out.push_back(json::text_at(pool, "poolid"));
    return out;
  }
  std::string comment_of(const std::string& pool) {
    return json::text_or(node_.call("GET", "/pools/" + pool).data(), "comment");
  }
  /// As it stands when its owner was silent for so long.
  void let_pass(const std::string& run, std::chrono::seconds silence) {
    const auto pool = fmt::format("inspect-{}-proxmox", run);
    auto record = RunRecord::of(pool, comment_of(pool));
    ASSERT_TRUE(record);
    record->renewed -= silence;
    ASSERT_EQ(
        node_.call("PUT", "/pools/" + pool, "comment=" + percent_encode(record->comment())).status,
        200);
  }

  px::testing::TemporaryDirectory home_of_a_;
  px::testing::TemporaryDirectory home_of_b_;
};

TEST_F(TwoMachines, seeEachOthersRunsLiveAndCleanUpAfterThemWhenTheyDied) {
  // What only looks like ours.
  finish(node_.call("POST", "/nodes/proxmox/qemu", "vmid=900&name=inspect-decoy"));
  node_.call("POST", "/pools", "poolid=inspect-00000000-proxmox&comment=mine");
  node_.call("POST", "/pools", "poolid=team&comment=Proxmox%20Sandbox%20run%2000000000");
  node_.call("POST", "/cluster/sdn/zones", "zone=inspectz&type=simple");
  auto work = [](TwoMachines& test) -> awaitable<void> {
    std::string run;
    {
      sandbox::Run of_a{co_await asio::this_coro::executor, test.pool_, test.a()};
      run = of_a.id().text;
      co_await of_a.prepare(lease_spec);
      co_await of_a.bring_up(lease_spec, "task", "1");
      EXPECT_EQ((co_await test.seen_by_b())(run).life, Life::alive);
      EXPECT_THAT((co_await test.clean_up_by_b({.dead = true})).removed, IsEmpty());
      // Its process dies here.
    }
    EXPECT_EQ((co_await test.seen_by_b())(run).life, Life::alive) << "nobody there can know yet";
    EXPECT_THAT((co_await test.clean_up_by_b({.dead = true})).removed, IsEmpty());
    test.let_pass(run, 6min);
    EXPECT_EQ((co_await test.seen_by_b())(run).life, Life::dead);
    const auto report = co_await test.clean_up_by_b({.dead = true});
    EXPECT_THAT(report.left, IsEmpty());
    EXPECT_THAT(report.removed,
                Contains(fmt::format("record of run {0} (pool inspect-{0}-proxmox)", run)));
    const auto left = co_await test.found();
    EXPECT_THAT(left.vms, IsEmpty());
    EXPECT_THAT(left.networks, IsEmpty());
  };
  px::testing::run(work(*this));
  EXPECT_THAT(pools(), ::testing::UnorderedElementsAre("inspect-00000000-proxmox", "team"));
  EXPECT_EQ(json::text_or(config(900), "name"), "inspect-decoy");
  EXPECT_EQ(node_.call("GET", "/cluster/sdn/zones/inspectz").status, 200);
}

TEST_F(TwoMachines, leaveAloneWhatOneOfThemKeptOnPurpose) {
  auto work = [](TwoMachines& test) -> awaitable<void> {
    std::string run;
    {
      sandbox::Run of_a{co_await asio::this_coro::executor, test.pool_, test.a()};
      run = of_a.id().text;
      co_await of_a.prepare(lease_spec);
      co_await of_a.bring_up(lease_spec, "task", "1");
      co_await of_a.sweep(false);
    }
    test.let_pass(run, 6min);
    EXPECT_EQ((co_await test.seen_by_b())(run).life, Life::kept);
    EXPECT_THAT((co_await test.clean_up_by_b({.dead = true})).removed, IsEmpty());
    EXPECT_THAT((co_await test.clean_up_by_b({.id = run})).left, IsEmpty());
  };
  px::testing::run(work(*this));
  EXPECT_THAT(pools(), IsEmpty());
}

TEST_F(TwoMachines, removeARecordOfWhichNothingElseIsLeft) {
  auto work = [](TwoMachines& test) -> awaitable<void> {
    std::string run;
    {
      Lease lease{RunId::make()};
      co_await lease.take(co_await test.client());
    }
    run = (co_await find_records(*co_await test.client())).at(0).record.run;
    EXPECT_THAT((co_await test.clean_up_by_b({.dead = true})).removed, IsEmpty());
    test.let_pass(run, 6min);
    EXPECT_EQ((co_await test.clean_up_by_b({.dead = true})).removed.size(), 1U);
  };
  px::testing::run(work(*this));
  EXPECT_THAT(pools(), IsEmpty());
}

TEST_F(TwoMachines, seeWhoseARunIsAndSinceWhen) {
  auto work = [](TwoMachines& test) -> awaitable<void> {
    sandbox::Run of_a{co_await asio::this_coro::executor, test.pool_, test.a()};
    co_await of_a.prepare(lease_spec);
    const auto with = co_await test.client();
    const auto seen = (co_await find_records(*with)).at(0);
    co_await with->close();
    EXPECT_EQ(seen.record.run, of_a.id().text);
    EXPECT_EQ(seen.record.owner, Mark::this_process());
    EXPECT_TRUE(seen.is_here);
    EXPECT_LT(seen.age.value_or(1h), 60s);
    co_await of_a.sweep(true);
  };
  px::testing::run(work(*this));
  EXPECT_THAT(pools(), IsEmpty()) << "it ended and left nothing";
}

TEST_F(TwoMachines, failedStartLeavesNoRecord) {
  const std::string refused =
      R"({"vms_config": [{"vm_source_config": {"existing_vm_template_tag": "nowhere"}}]})";
  auto work = [&](TwoMachines& test) -> awaitable<void> {
    sandbox::Run of_a{co_await asio::this_coro::executor, test.pool_, test.a()};
    EXPECT_THROW(co_await of_a.prepare(refused), Error);
  };
  px::testing::run(work(*this));
  EXPECT_THAT(pools(), IsEmpty());
}

class RenewedLease : public TwoMachines {
 public:
  std::int64_t renewals() {
    const auto counted = node_.send("GET", "/_control/requests", {}).data();
    const auto* count = json::find(counted.at("requests"), "PUT /pools");
    return count == nullptr ? 0 : count->to_number<std::int64_t>();
  }
  awaitable<void> until_renewed_to(std::int64_t wanted) {
    for (int look = 0; look < 2000 && renewals() < wanted; ++look) co_await sleep_for(5ms);
    EXPECT_GE(renewals(), wanted);
  }
  static constexpr LeaseTerms quick{.renew_every = 10ms, .retry_after = 10ms};
};

TEST_F(RenewedLease, isAliveAgainWithEachRenewal) {
  auto work = [](RenewedLease& test) -> awaitable<void> {
    const auto with = co_await test.client();
    Lease lease{RunId::make(), quick};
    co_await lease.take(with);
    co_await test.until_renewed_to(2);
    const auto run = (co_await find_records(*with)).at(0).record.run;
    test.let_pass(run, 6min);
    co_await test.until_renewed_to(test.renewals() + 2);
    EXPECT_EQ((co_await find_records(*with)).at(0).life, Life::alive);
    co_await lease.give_back();
    co_await with->close();
  };
  px::testing::run(work(*this));
  EXPECT_THAT(pools(), IsEmpty());
}

TEST_F(RenewedLease, isMadeAnewWhenSomebodyRemovedItsRecord) {
  auto work = [](RenewedLease& test) -> awaitable<void> {
    const auto with = co_await test.client();
    Lease lease{RunId::make(), quick};
    co_await lease.take(with);
    EXPECT_EQ(test.node_.call("DELETE", "/pools/" + test.pools().at(0)).status, 200);
    for (int look = 0; look < 2000 && test.pools().empty(); ++look) co_await sleep_for(5ms);
    EXPECT_EQ(test.pools().size(), 1U);
    co_await lease.give_back();
    co_await with->close();
  };
  px::testing::run(work(*this));
  EXPECT_THAT(pools(), IsEmpty());
}

TEST_F(RenewedLease, isTakenOnceByAllWhoPrepareAtOnce) {
  auto work = [](RenewedLease& test) -> awaitable<void> {
    const auto with = co_await test.client();
    Lease lease{RunId::make()};
    std::vector<awaitable<void>> takers;
    for (int i = 0; i < 5; ++i) takers.push_back(lease.take(with));
    co_await all(std::move(takers));
    EXPECT_EQ(with->stats().requests.at("POST"), 1U);
    co_await lease.give_back();
    co_await with->close();
  };
  px::testing::run(work(*this));
}

TEST_F(TwoMachines, withoutTheRightToKeepRecordsWorkAllTheSame) {
  const auto made = node_.call("POST", "/access/users/root@pam/token/poor", "privsep=1");
  ASSERT_EQ(made.status, 200) << made.body;
  auto variables = node_.variables();
  variables["PROXMOX_NODE"] = "proxmox";
  variables["PROXMOX_TOKEN_ID"] = "root@pam!poor";
  variables["PROXMOX_TOKEN_SECRET"] = json::text_at(made.data(), "value");
  auto work = [](TwoMachines& test, Environment poor) -> awaitable<void> {
    const auto with = std::make_shared<pve::Client>(co_await asio::this_coro::executor, test.pool_,
                                                    read_instances(poor).front());
    Lease lease{RunId::make(), {.renew_every = 1ms, .retry_after = 1ms}};
    co_await lease.take(with);
    const auto asked = with->stats().total();
    co_await sleep_for(20ms);
    co_await lease.keep();
    co_await lease.give_back();
    co_await lease.take(with);
    EXPECT_EQ(with->stats().total(), asked) << "who was refused asks no more";
    EXPECT_THAT(co_await find_records(*with), IsEmpty());
    co_await with->close();
  };
  px::testing::run(work(*this, px::testing::environment_of(variables)));
}

}  // namespace
}  // namespace px::sandbox
