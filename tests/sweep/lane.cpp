#include "sweep/lane.hpp"

#include "environment.hpp"
#include "run.hpp"
#include "sandbox/run.hpp"

#include <fstream>

namespace px::testing {

const std::string two_vms = R"({"sdn_config": null, "vms_config": [
    {"vm_source_config": {"built_in": "debian13-small"}, "name": "first", "nics": []},
    {"vm_source_config": {"built_in": "debian13-small"}, "name": "second", "nics": []}]})";

Lane::Lane(bool by_password)
    : guest_{std::make_shared<HostGuest>(directory_.path() / "node")},
      node_{directory_.path() / "node", "proxmox", guest_},
      environment_{environment_of(node_.node().variables(by_password))} {
  auto prepare = [](asio::thread_pool& threads, sandbox::Environment values) -> awaitable<void> {
    sandbox::Run run{co_await asio::this_coro::executor, threads, std::move(values)};
    co_await run.prepare(two_vms);
    co_await run.sweep(true);
  };
  px::testing::run(prepare(pool_, environment_));
  node_.settle();
}

void Lane::arm(int n, const std::string& fault) {
  guest_->begin(directory_.path() / "guests");
  node_.arm(n, fault);
}

void Lane::leave_medium(const std::string& name) const {
  std::ofstream{directory_.path() / "node/storage/local/template/iso" / name} << "medium";
}

std::vector<Round> sweep(bool by_password, const std::function<Round(Lane&, int)>& round) {
  return sweep([&]() -> OneRound {
    const auto lane = std::make_shared<Lane>(by_password);
    return [lane, &round](int n) { return round(*lane, n); };
  });
}

}  // namespace px::testing
