#include "image/claim.hpp"

#include "pve/tasks.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::image {

namespace {

using namespace std::chrono_literals;

constexpr auto beat_pause = 20s;
constexpr auto first_look = 100ms;
constexpr auto longest_look = 2s;

std::string with_beat(const std::string& note, const std::string& maker, int count) {
  return fmt::format("{}{}{} {}\n", note, making_key, maker, count);
}

std::string beat_of(std::string_view description) {
  const auto at = description.find(making_key);
  if (at == std::string_view::npos) return {};
  const auto begin = at + making_key.size();
  return std::string{description.substr(begin, description.find('\n', begin) - begin)};
}

/// False when someone else was faster.
awaitable<bool> create(pve::Client& client, pve::VmRef vm, const ClaimTerms& terms,
                       const std::string& maker, Deadline limit) {
  pve::Params config;
  config.add("name", terms.name)
      .add("tags", terms.tags)
      .add("description", with_beat(terms.note, maker, 0));
  try {
    const auto upid = terms.make ? co_await terms.make(vm, std::move(config))
                                 : co_await pve::qemu::create(client, vm, std::move(config), limit);
    co_await pve::wait_for_task(client, upid, limit, fmt::format("create VM {}", vm.vmid));
  } catch (const Error& error) {
    if (error.kind != Errc::already_exists) throw;
    co_return false;
  }
  co_return true;
}

/// The drives that a dead maker had begun with, and their volumes.
std::string drives_of(const pve::qemu::VmConfigMap& config) {
  std::vector<std::string> drives;
  for (const auto& [option, value] : config.values) {
    const auto stem = option.substr(0, option.find_last_not_of("0123456789") + 1);
    const bool is_drive = stem == "scsi" || stem == "ide" || stem == "sata" || stem == "virtio" ||
                          stem == "efidisk" || stem == "unused";
    if (is_drive && option != stem) drives.push_back(option);
  }
  return fmt::format("{}", fmt::join(drives, ","));
}

/// Some are started before they become templates.
awaitable<void> switch_off(pve::Client& client, pve::VmRef vm, Deadline limit) {
  if (!(co_await pve::qemu::status(client, vm)).running) co_return;
  co_await pve::run_task(
      client, [&] { return pve::qemu::stop(client, vm, limit); }, limit,
      fmt::format("stop VM {}", vm.vmid));
}

/// False when someone else was faster.
awaitable<bool> take_over(pve::Client& client, pve::VmRef vm, const pve::qemu::VmConfigMap& config,
                          const ClaimTerms& terms, const std::string& maker, Deadline limit) {
  pve::Params changes;
  changes.add("description", with_beat(terms.note, maker, 0));
  if (!co_await pve::qemu::set_config_if_unchanged(client, vm, std::move(changes), config.digest,
                                                   limit)) {
    co_return false;
  }
  log::info("VM {} of a process that died while it made {} is taken over", vm.vmid, terms.title);
  co_await switch_off(client, vm, limit);
  for (auto left = drives_of(config); !left.empty();
       left = drives_of(co_await pve::qemu::config(client, vm))) {
    co_await pve::qemu::set_config(client, vm, pve::Params{}.add("delete", left).add("force", true),
                                   limit);
  }
  co_return true;
}

pve::Vmid next_after(pve::Vmid vmid) {
  return pve::Vmid::from_number(std::int64_t{vmid.number()} + 1);
}

ClaimSeen seen_of(const std::optional<pve::qemu::VmConfigMap>& config, const ClaimTerms& terms) {
  ClaimSeen seen;
  if (!config) return seen;
  const auto tags = pve::qemu::split_tags(config->get("tags"));
  const auto description = config->get("description");
  seen.is_there = true;
  seen.is_half_made = config->get("lock") == "create" && tags.empty();
  seen.is_ours = std::ranges::find(tags, terms.content_tag) != tags.end();
  seen.is_template = config->get("template") == "1";
  seen.beat = beat_of(description);
  seen.maker_is_dead = terms.is_dead && terms.is_dead(description);
  return seen;
}

}  // namespace

ClaimMachine::Next ClaimMachine::saw(const ClaimSeen& seen, SteadyTime now) {
  if (!seen.is_there) {
    since_.reset();
    const bool is_elsewhere = refused_since_ && now - *refused_since_ >= patience_with_the_unseen;
    return is_elsewhere ? Next::pass_on : Next::create;
  }
  refused_since_.reset();
  if (seen.is_ours && seen.is_template) return Next::use;
  if (!seen.is_ours && !seen.is_half_made) return Next::pass_on;
  if (seen.maker_is_dead) return Next::take_over;
  if (!since_ || seen.beat != last_beat_) {
    last_beat_ = seen.beat;
    since_ = now;
  }
  if (now - *since_ < patience) return Next::wait;
  return Next::take_over;
}

pve::Vmid claimed_number(const pve::NodeName& node, std::string_view content_tag) {
  // Numbers are a cluster's, and each of its nodes may need the template.
  const auto sum = sha256_hex(fmt::format("{}\n{}", node, content_tag));
  constexpr std::int64_t first = 100'000'000;
  constexpr std::int64_t last = 999'999'000;
  return pve::Vmid::from_number(first +
                                std::stoll(sum.substr(0, 12), nullptr, 16) % (last - first));
}

namespace {

/// Runs an attempt to get the VM; what an attempt that failed midway has got is given up.
awaitable<bool> attempt(pve::Client& client, Claimed wanted, awaitable<bool> work) {
  bool is_ours = false;
  bool has_ended = false;
  auto body = [](awaitable<bool> inner, bool& result, bool& ended) -> awaitable<void> {
    result = co_await std::move(inner);
    ended = true;
  };
  auto undo = [](pve::Client& server, Claimed got, const bool& ended) -> awaitable<void> {
    if (!ended) co_await give_up(server, got);
  };
  co_await with_cleanup(body(std::move(work), is_ours, has_ended),
                        undo(client, std::move(wanted), has_ended));
  co_return is_ours;
}

}  // namespace

awaitable<Claimed> claim(pve::Client& client, ClaimTerms terms, Deadline limit) {
  pve::VmRef vm{terms.node, claimed_number(terms.node, terms.content_tag)};
  const auto maker = random_hex(16);
  ClaimMachine machine;
  bool told = false;
  for (auto pause = first_look;;) {
    const auto config = co_await pve::qemu::config_if_there(client, vm);
    const auto now = std::chrono::steady_clock::now();
    const Claimed ours{vm, false, maker};
    const auto seen = seen_of(config, terms);
    switch (machine.saw(seen, now)) {
      case ClaimMachine::Next::create:
        if (co_await attempt(client, ours, create(client, vm, terms, maker, limit))) co_return ours;
        machine.was_refused(now);
        break;
      case ClaimMachine::Next::use:
        co_return Claimed{vm, true, ""};
      case ClaimMachine::Next::take_over:
        if (co_await pve::is_busy(client, vm.node, vm.vmid)) {
          machine.saw_work(now);
        } else if (seen.is_half_made) {
          // Broken, and nobody knows whose it is.
          vm.vmid = next_after(vm.vmid);
          machine = {};
          continue;
        } else if (co_await attempt(client, ours,
                                    take_over(client, vm, *config, terms, maker, limit))) {
          co_return ours;
        }
        break;
      case ClaimMachine::Next::pass_on:
        vm.vmid = next_after(vm.vmid);
        machine = {};
        continue;
      case ClaimMachine::Next::wait:
        break;
    }
    if (limit.passed(now)) {
      throw Error{Errc::timeout,
                  fmt::format("VM {} on node {}, which another process makes the template of {}, "
                              "did not become one",
                              vm.vmid, vm.node, terms.title)};
    }
    if (!std::exchange(told, true)) {
      log::info("waiting for the template of {}: another process makes it as VM {}", terms.title,
                vm.vmid);
    }
    co_await sleep_for(pause);
    pause = std::min<std::chrono::milliseconds>(pause * 2, longest_look);
  }
}

awaitable<void> give_up(pve::Client& client, Claimed claimed) {
  const auto& vm = claimed.vm;
  const auto limit = Deadline::after(60s);
  try {
    const auto config = co_await pve::qemu::config_if_there(client, vm);
    if (!config || !beat_of(config->get("description")).starts_with(claimed.maker)) co_return;
    co_await switch_off(client, vm, limit);
    const auto upid = co_await pve::qemu::destroy(client, vm, limit);
    co_await pve::wait_for_task(client, upid, limit, fmt::format("destroy VM {}", vm.vmid));
  } catch (const Error& error) {
    log::warn("VM {}, which did not become a template, is left: {}", vm.vmid, error.what());
  }
}

awaitable<void> keep_claim(pve::Client& client, Claimed claimed, std::string note) {
  const auto& vm = claimed.vm;
  for (int count = 1;; ++count) {
    co_await sleep_for(beat_pause);
    const auto config = co_await pve::qemu::config_if_there(client, vm);
    if (!config || !beat_of(config->get("description")).starts_with(claimed.maker)) {
      throw Error{Errc::unavailable,
                  fmt::format("VM {}, which was to become a template, was {}", vm.vmid,
                              config ? "taken over by another process" : "removed")};
    }
    try {
      pve::Params changes;
      changes.add("description", with_beat(note, claimed.maker, count));
      co_await pve::qemu::set_config_if_unchanged(client, vm, std::move(changes), config->digest,
                                                  Deadline::after(beat_pause));
    } catch (const Error& error) {
      // A disk is being imported: the task itself shows that the maker lives. What else fails will
      // fail in the making, too.
      log::debug("VM {}: {}", vm.vmid, error.said);
    }
  }
}

}  // namespace px::image
