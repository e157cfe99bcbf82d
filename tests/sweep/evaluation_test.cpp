// The failure sweep of a whole evaluation: four samples on two servers, and the n-th request of all
// goes wrong, or the evaluation is killed there, for every n.
#include "evaluation/evaluation.hpp"

#include "environment.hpp"
#include "evaluation/child.hpp"
#include "run.hpp"
#include "sandbox/cleanup.hpp"
#include "sandbox/run.hpp"
#include "sandbox/run_record.hpp"
#include "support/bytes.hpp"
#include "sweep/kinds.hpp"
#include "sweep/rounds.hpp"
#include "sweep/swept_node.hpp"

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/post.hpp>

#include <atomic>
#include <csignal>
#include <fstream>
#include <future>

namespace px::testing {
namespace {

constexpr int samples = 4;

/// A VM of that source, in a network with that range (10.N.0.0/24).
std::string world(const std::string& source, int range) {
  return fmt::format(
      R"({{"vms_config": [{{"vm_source_config": {0}, "nics": [{{"vnet_alias": "lan"}}]}}],
          "sdn_config": {{"egress": "none", "vnet_configs": [{{"alias": "lan", "subnets": [
              {{"cidr": "10.{1}.0.0/24", "gateway": "10.{1}.0.1", "snat": true,
                "dhcp_ranges": [{{"start": "10.{1}.0.50", "end": "10.{1}.0.99"}}]}}]}}]}}}})",
      source, range);
}

const std::string built_in = R"({"built_in": "debian13-small"})";

/// Two servers as one pool, with what a stranger has there, and a run that lives.
class Servers {
 public:
  Servers() {
    std::ofstream{directory_.path() / "servers.json"}
        << boost::json::serialize(json::object{{"instances", {entry(0), entry(1)}}});
    io_.restart();
    for (auto& node : nodes_) {
      node.node().call("POST", "/cluster/sdn/zones", "zone=off001z&type=simple");
      node.node().call("POST", "/cluster/firewall/groups", "group=off001v0");
    }
    asio::co_spawn(io_, bring_life(), [](std::exception_ptr failure) {
      if (failure) std::rethrow_exception(failure);
    });
    while (!lives_) io_.run_one();
    for (auto& node : nodes_) {
      forget_change(node.node());
      node.settle();
    }
  }

  std::map<std::string, std::string> variables() const {
    return {{"PROXMOX_CONFIG_FILE", directory_.path() / "servers.json"},
            {"XDG_STATE_HOME", directory_.path()}};
  }
  sandbox::Environment environment() const { return environment_of(variables()); }
  asio::thread_pool& pool() noexcept { return pool_; }
  const std::filesystem::path& directory() const noexcept { return directory_.path(); }

  /// The n-th request of both: of the first one's when n is odd.
  template <class Fault>
  void arm(int n, const Fault& fault) {
    for (int i = 0; i < 2; ++i) {
      const bool meant = (n - 1) % 2 == i;
      nodes_[i].arm(meant ? (n + 1) / 2 : never, fault);
    }
  }
  /// As many as n has to go up to.
  int disarm() { return 2 * std::max(nodes_[0].disarm(), nodes_[1].disarm()); }

  void add_leftovers(std::vector<std::string>& out) const {
    for (const auto& node : nodes_) {
      for (auto& thing : node.leftovers()) out.push_back(std::move(thing));
    }
  }

 private:
  static constexpr int never = 1'000'000;

  json::object entry(int index) {
    const auto variables = nodes_[index].node().variables();
    return {{"instance_id", index == 0 ? "first" : "second"},
            {"host", "127.0.0.1"},
            {"port", nodes_[index].node().port()},
            {"fingerprint", variables.at("PROXMOX_FINGERPRINT")},
            {"token_id", variables.at("PROXMOX_TOKEN_ID")},
            {"token_secret", variables.at("PROXMOX_TOKEN_SECRET")},
            {"image_storage", "local"},
            {"max_sandboxes", 2}};
  }

  awaitable<void> bring_life() {
    const auto spec = world(built_in, 9);
    life_ =
        std::make_unique<sandbox::Run>(co_await asio::this_coro::executor, pool_, environment());
    co_await life_->prepare(spec);
    for (const auto* sample : {"1", "2"}) co_await life_->bring_up(spec, "task", sample);
    lives_ = true;
  }

  /// As the next renewal of the living run's record leaves it.
  static void forget_change(const NodeUnderTest& node) {
    const auto pools = node.call("GET", "/pools").data();
    for (const auto& pool : pools.as_array()) {
      const auto id = json::text_at(pool, "poolid");
      auto record = sandbox::RunRecord::of(id, json::text_or(pool, "comment"));
      if (!record) continue;
      record->change = {};
      node.call("PUT", "/pools/" + id, "comment=" + percent_encode(record->comment()));
    }
  }

  TemporaryDirectory directory_;
  std::shared_ptr<node::SimulatedGuest> guest_ = willing_guest();
  std::array<SweptNode, 2> nodes_{SweptNode{directory_.path() / "first", "first", guest_},
                                  SweptNode{directory_.path() / "second", "second", guest_}};
  asio::thread_pool pool_{1};
  asio::io_context io_{1};
  bool lives_ = false;
  std::unique_ptr<sandbox::Run> life_;
};

/// What `proxmox-sandbox cleanup --dead --yes` does. Returns what it removed.
awaitable<std::vector<std::string>> clean_up_the_dead(Servers& servers, Round& round) {
  std::vector<std::string> removed;
  const auto environment = servers.environment();
  const auto here = [&](const std::string& run) { return sandbox::life_of(run, environment); };
  for (auto& instance : sandbox::read_instances(environment)) {
    pve::Client client{co_await asio::this_coro::executor, servers.pool(), instance};
    const auto found =
        co_await sandbox::find_belongings(client, co_await sandbox::find_nodes(client));
    const auto records = co_await sandbox::find_records(client);
    const auto report = co_await sandbox::clean_up(
        client, sandbox::choose(found, records, {.dead = true},
                                sandbox::with_records(here, records), sandbox::Mark::now()));
    removed.insert(removed.end(), report.removed.begin(), report.removed.end());
    for (const auto& line : report.left) round.mistakes.push_back("clean-up left " + line);
    co_await client.close();
  }
  co_return removed;
}

// --- a request goes wrong ------------------------------------------------------------------------

/// At most one error, of the kind's, that names the server.
void check_errors(const EvaluationErrors& errors, const Kind& kind, Round& round) {
  std::vector<Error> all = errors.samples;
  all.insert(all.end(), errors.ends.begin(), errors.ends.end());
  if (errors.start) all.push_back(*errors.start);
  if (all.size() > 1) round.mistakes.push_back("one fault made several errors");
  for (const auto& error : all) {
    round.end += fmt::format("{}: {} ", name_of(error.kind), error.what());
    if (error.kind != kind.error) round.mistakes.push_back("another kind of error is wanted");
    if (round.end.find("127.0.0.1") == std::string::npos) {
      round.mistakes.push_back("the error does not name the server");
    }
  }
}

Round evaluate_with_fault(Servers& servers, int n, const Kind& kind) {
  servers.arm(n, kind.fault);
  const auto errors = run(evaluate(servers.pool(), servers.environment(),
                                   {.spec = world(built_in, 1), .samples = samples}));
  Round round;
  round.requests = servers.disarm();
  check_errors(errors, kind, round);
  const bool was_said =
      !errors.ends.empty() || std::ranges::any_of(round_log(), [](const auto& line) {
        return line.starts_with("WARNING");
      });
  for (const auto& thing : run(clean_up_the_dead(servers, round))) {
    if (!was_said) round.mistakes.push_back("left without a word: " + thing);
  }
  servers.add_leftovers(round.mistakes);
  return round;
}

class EvaluationSweep : public ::testing::TestWithParam<Kind> {};

TEST_P(EvaluationSweep, endsWellOrWithOneClearErrorAndLeavesNothing) {
  const auto rounds = sweep([]() -> OneRound {
    const auto servers = std::make_shared<Servers>();
    return [servers](int n) { return evaluate_with_fault(*servers, n, GetParam()); };
  });
  EXPECT_GE(report(rounds), 140) << "so many requests are there at least";
}

INSTANTIATE_TEST_SUITE_P(Requests, EvaluationSweep,
                         ::testing::Values(refused, Kind{"lostBefore", "action=drop_before", {}},
                                           Kind{"lostAfter", "action=drop_after", {}},
                                           Kind{"delayed", "action=delay&delay_ms=50", {}}),
                         name_of_kind);

// --- the evaluation is cancelled -----------------------------------------------------------------

/// Whether it was cancelled; `cancel` cancels it.
bool is_cancelled(asio::io_context& io, asio::cancellation_signal& cancel, Servers& servers,
                  Round& round) {
  std::exception_ptr failure;
  auto work = evaluate(servers.pool(), servers.environment(),
                       {.spec = world(built_in, 1), .samples = samples});
  const auto done = [&](std::exception_ptr error, const EvaluationErrors& errors) {
    failure = error;
    for (const auto& end : errors.ends) round.mistakes.emplace_back(end.what());
  };
  asio::co_spawn(io, std::move(work), asio::bind_cancellation_slot(cancel.slot(), done));
  io.run();
  if (failure && !is_cancellation(failure)) std::rethrow_exception(failure);
  return failure != nullptr;
}

Round cancel_evaluation(Servers& servers, int n) {
  Round round;
  asio::io_context io{1};
  asio::cancellation_signal cancel;
  servers.arm(n, std::function<void()>{[&] {
                asio::post(io, [&] { cancel.emit(asio::cancellation_type::terminal); });
              }});
  if (is_cancelled(io, cancel, servers, round)) round.end = "cancelled";
  round.requests = servers.disarm();
  for (const auto& thing : run(clean_up_the_dead(servers, round))) {
    round.mistakes.push_back("left: " + thing);
  }
  servers.add_leftovers(round.mistakes);
  return round;
}

TEST(CancelledEvaluation, leavesNothingWhereverItIsCancelled) {
  const auto rounds = sweep([]() -> OneRound {
    const auto servers = std::make_shared<Servers>();
    return [servers](int n) { return cancel_evaluation(*servers, n); };
  });
  EXPECT_GE(report(rounds), 140) << "so many requests are there at least";
}

// --- the evaluation is killed --------------------------------------------------------------------

/// A disk that no server has seen yet, so that the evaluation makes its template, too.
std::string new_disk(const std::filesystem::path& path) {
  std::ofstream{path, std::ios::binary} << random_bytes(1024);
  return fmt::format(R"({{"disk": "{}"}})", path.string());
}

Round kill_evaluation(Servers& servers, int n) {
  Round round;
  std::promise<pid_t> pid;
  const auto is_killed = std::make_shared<std::atomic<bool>>(false);
  servers.arm(n, std::function<void()>{[is_killed, known = pid.get_future().share()] {
                ::kill(known.get(), SIGKILL);
                *is_killed = true;
              }});
  Child evaluation{{PX_EVALUATION, world(new_disk(servers.directory() / "disk.raw"), 1),
                    std::to_string(samples)},
                   servers.variables(),
                   servers.directory() / "evaluation.log"};
  pid.set_value(evaluation.pid());
  const int status = evaluation.wait();
  round.requests = servers.disarm();
  if (status != (*is_killed ? 128 + SIGKILL : 0)) {
    round.mistakes.push_back(fmt::format("status {}: {}", status, evaluation.output()));
  }
  Child cleanup{{PX_COMMAND, "cleanup", "--dead", "--yes"},
                servers.variables(),
                servers.directory() / "cleanup.log"};
  if (const int failed = cleanup.wait(); failed != 0) {
    round.mistakes.push_back(fmt::format("clean-up: status {}", failed));
  }
  servers.add_leftovers(round.mistakes);
  if (!round.mistakes.empty()) {
    round.mistakes.push_back("clean-up said: " + cleanup.output());
  }
  return round;
}

TEST(KilledEvaluation, leavesNothingThatCleanUpDoesNotFindWhereverItIsKilled) {
  const auto rounds = sweep([]() -> OneRound {
    const auto servers = std::make_shared<Servers>();
    return [servers](int n) { return kill_evaluation(*servers, n); };
  });
  EXPECT_GE(report(rounds), 160) << "so many requests are there at least";
}

}  // namespace
}  // namespace px::testing
