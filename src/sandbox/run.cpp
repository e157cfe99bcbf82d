#include "sandbox/run.hpp"

#include "network/native_options.hpp"
#include "sandbox/cleanup.hpp"
#include "sandbox/native_options.hpp"
#include "sandbox/web_sources.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::sandbox {

namespace {

/// Instances with the same key share a Host, and with it their connections and look-ups.
std::string key_of(const pve::Instance& instance) {
  const auto secret =
      sha256_hex(instance.password.reveal() + '\n' + instance.token_secret.reveal());
  return fmt::format("{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", instance.id, instance.host, instance.port,
                     instance.user, instance.realm, instance.token_id, instance.node,
                     instance.verify_tls, instance.fingerprint, instance.image_storage, secret);
}

/// What the configuration promises is kept or said loudly not to be.
awaitable<void> check_firewall(const std::shared_ptr<Host>& host, const Spec& spec) {
  const bool closed = spec.networks.isolation.closed && !spec.networks.vnets.empty();
  const auto guarded = std::ranges::find(spec.vms, true, &VmSpec::firewall);
  if (!closed && guarded == spec.vms.end()) co_return;
  const auto trouble = co_await host->firewall_trouble();
  if (trouble.empty()) co_return;
  const auto said = fmt::format("on {} {}", host->instance().host, trouble);
  const std::string fix = "See what is missing, and mend it: proxmox-sandbox doctor --fix";
  if (guarded != spec.vms.end()) {
    const auto index = guarded - spec.vms.begin();
    throw Error{Errc::unsupported,
                fmt::format("vms_config[{}].firewall: the VM can't be isolated: {}", index, said)}
        .with_hint(fix);
  }
  if (spec.verify_isolation) {
    throw Error{Errc::unsupported,
                fmt::format("verify_isolation: the networks can't be closed: {}", said)}
        .with_hint(fix);
  }
  log::warn(
      "SAMPLES' NETWORKS ARE NOT CLOSED: {}. Guests may reach the server, its networks and other "
      "samples. {}",
      said, fix);
}

awaitable<void> make_template(std::shared_ptr<Host> host, const VmSpec& vm) {
  co_await host->templates().get(template_request(vm));
}

awaitable<void> prepare_host(std::shared_ptr<Host> host, const Spec& spec, Lease& lease) {
  co_await host->check();
  co_await check_firewall(host, spec);
  for (const auto& vm : spec.vms) {
    for (const auto& card : vm.cards.value_or(std::vector<network::Card>{})) {
      if (!card.vnet) co_await host->existing_vnet(card, spec.networks);
    }
  }
  co_await network::check_network_options(host->client(), spec.networks);
  for (const auto& vm : spec.vms) {
    co_await host->check_places(vm);
    co_await check_native_options(host->client(), host->node(), vm);
  }
  co_await lease.take({host, &host->client()});
  for (const auto& vm : spec.vms) {
    if (vm.seed) co_await host->seed_of(vm);
  }
  std::vector<awaitable<void>> templates;
  for (const auto& vm : spec.vms) templates.push_back(make_template(host, vm));
  co_await all(std::move(templates));
  // Inspect does not name the task yet.
  co_await host->leases().prepare(co_await host->possible(spec.networks), "");
}

}  // namespace

Run::Run(asio::any_io_executor executor, asio::thread_pool& pool, Environment environment)
    : executor_{std::move(executor)}, pool_{pool}, environment_{std::move(environment)} {}

awaitable<Spec> Run::read(std::string spec_json) {
  const auto known = of_the_web_.find(spec_json);
  if (known != of_the_web_.end()) co_return known->second;
  if (!names_web_sources(spec_json)) {
    co_return co_await run_in_pool(pool_, [&] { return parse_spec(spec_json); });
  }
  const auto text = co_await fetch_sources(pool_, spec_json);
  auto spec = co_await run_in_pool(pool_, [&] { return parse_spec(text); });
  of_the_web_.insert_or_assign(std::move(spec_json), spec);
  co_return spec;
}

std::vector<std::shared_ptr<Host>> Run::hosts_for(const Spec& spec) {
  std::vector<std::shared_ptr<Host>> out;
  for (auto& instance : instances_for(spec, environment_)) {
    auto& host = hosts_[key_of(instance)];
    if (!host)
      host = std::make_shared<Host>(executor_, pool_, std::move(instance), id_, environment_);
    out.push_back(host);
  }
  return out;
}

void Run::show_life() {
  if (!life_sign_) life_sign_.emplace(id_, environment_);
}

awaitable<void> Run::end_life() {
  const auto has_ended = [this] { return life_sign_ && prepared_ == 0 && sandboxes_.empty(); };
  if (!has_ended()) co_return;
  co_await lease_.give_back();
  if (!has_ended()) co_return;  // another task began meanwhile
  life_sign_->clear();
  life_sign_.reset();
}

awaitable<void> Run::prepare(std::string spec_json) {
  const Spec spec = co_await read(spec_json);
  show_life();
  const auto hosts = hosts_for(spec);
  std::exception_ptr failure;
  try {
    // First, for it makes room.
    if (!std::exchange(looked_for_dead_, true)) {
      co_await clean_up_after_the_dead(hosts, environment_);
    }
    std::vector<awaitable<void>> work;
    for (const auto& host : hosts) work.push_back(prepare_host(host, spec, lease_));
    co_await all(std::move(work));
    ++prepared_;
    // Another one that failed meanwhile may have ended them.
    show_life();
    for (const auto& host : hosts) co_await lease_.take({host, &host->client()});
  } catch (...) {
    failure = std::current_exception();
  }
  if (!failure) co_return;
  // Nobody calls sweep() for a task that did not begin.
  co_await asio::this_coro::reset_cancellation_state(asio::disable_cancellation());
  try {
    if (prepared_ == 0) co_await remove_networks();
    co_await end_life();
  } catch (const Error& error) {
    log::error("networks of a start that failed are left: {}", error.what());
  }
  std::rethrow_exception(failure);
}

awaitable<void> Run::remove_networks() {
  std::vector<awaitable<void>> work;
  for (const auto& [key, host] : hosts_) work.push_back(host->leases().remove_free());
  co_await all(std::move(work), false);
}

awaitable<std::shared_ptr<Sandbox>> Run::bring_up(std::string spec_json, std::string task,
                                                  std::string sample) {
  const Spec spec = co_await read(spec_json);
  const auto hosts = hosts_for(spec);
  const auto host = *std::min_element(
      hosts.begin(), hosts.end(), [](const auto& a, const auto& b) { return a->live < b->live; });
  show_life();
  auto sandbox = std::make_shared<Sandbox>(host, spec, id_, task, sample);
  // Known to sweep() before anything of it exists.
  sandboxes_.push_back(sandbox);
  co_await host->check();
  co_await sandbox->bring_up();
  std::erase_if(sandboxes_, [](const auto& other) { return other->gone(); });
  co_return sandbox;
}

awaitable<std::vector<std::string>> Run::sweep(bool cleanup) {
  std::vector<std::string> lines;
  std::vector<awaitable<void>> work;
  for (const auto& sandbox : sandboxes_) {
    if (sandbox->gone()) continue;
    for (const auto& vm : sandbox->vms()) {
      if (vm->vmid() == 0) continue;
      lines.push_back(fmt::format("{}; console: {}", vm->text(), vm->console_url()));
    }
    if (cleanup) work.push_back(sandbox->destroy());
  }
  std::exception_ptr failure;
  try {
    co_await all(std::move(work), false);
  } catch (const Error&) {
    failure = std::current_exception();
  }
  if (prepared_ > 0) --prepared_;
  // What a VM is still in is in use, and stays with it.
  if (prepared_ == 0) co_await remove_networks();
  if (failure) std::rethrow_exception(failure);
  std::erase_if(sandboxes_, [](const auto& sandbox) { return sandbox->gone(); });
  if (!lines.empty() && !cleanup) {
    if (life_sign_) life_sign_->keep();
    co_await lease_.keep();
    lines.push_back(fmt::format(
        "To delete all of it: proxmox-sandbox cleanup --run {0} --yes (or: inspect sandbox cleanup "
        "proxmox {0})",
        id_.text));
  }
  co_await end_life();
  co_return lines;
}

}  // namespace px::sandbox
