#include "guest/agent_channel.hpp"
#include "guest/linux/linux_guest.hpp"
#include "guest/windows/windows_guest.hpp"
#include "image/drives.hpp"
#include "pve/agent.hpp"
#include "pve/firewall.hpp"
#include "pve/qemu.hpp"
#include "pve/sdn.hpp"
#include "pve/tasks.hpp"
#include "sandbox/native_options.hpp"
#include "sandbox/removal.hpp"
#include "sandbox/sandbox.hpp"
#include "support/bytes.hpp"

#include <boost/algorithm/string/erase.hpp>
#include <fmt/format.h>

namespace px::sandbox {

using namespace std::chrono_literals;

namespace {

/// A whole bring-up. Booting is the guest's own time: minutes for a big one under emulation.
constexpr auto task_limit = 5min;
constexpr auto boot_limit = 10min;
/// From an answering agent to a lease: seconds, but a guest under emulation takes its time.
constexpr auto address_limit = 90s;

/// Adds the time of a step to its counter.
class Timer {
 public:
  explicit Timer(std::atomic<double>& seconds) : seconds_{seconds} {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started_;
    seconds_ = seconds_ + took.count();
  }

 private:
  std::atomic<double>& seconds_;
  std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
};

/// net0, net1, ... of a template, with their texts.
std::map<std::string, std::string> cards_of(const image::Template& base) {
  std::map<std::string, std::string> out;
  for (const auto& [option, value] : base.config.values) {
    if (pve::qemu::is_card(option)) out.emplace(option, value);
  }
  return out;
}

std::string boot_disk_of(const image::Template& base) {
  return base.config.get(image::boot_disk(base.config));
}

/// The templates that people brought lie where they lie; a linked clone stays there.
bool needs_copy(const VmSpec& spec, const image::Template& base) {
  return spec.storage && *spec.storage != image::storage_of_drive(boot_disk_of(base));
}

void check_disk_size(const VmSpec& spec, const image::Template& base) {
  const auto has = image::gib_of_drive(boot_disk_of(base));
  if (!spec.disk_gb || *spec.disk_gb >= has) return;
  throw_bad_input(spec.field + ".disk_gb", std::to_string(*spec.disk_gb),
                  fmt::format("the disk of {} has {} GiB, and disks only grow",
                              spec.vm_source_config.text(), has));
}

std::string without_firewall(std::string card) {
  boost::algorithm::erase_all(card, ",firewall=0");
  return card;
}

}  // namespace

image::TemplateRequest template_request(const VmSpec& spec) {
  image::TemplateRequest request;
  request.built_in = spec.vm_source_config.built_in.value_or("");
  request.existing_tag = spec.vm_source_config.existing_vm_template_tag.value_or("");
  request.existing_backup = spec.vm_source_config.existing_backup_name.value_or("");
  request.ova = spec.vm_source_config.ova.value_or("");
  request.disk = spec.vm_source_config.disk.value_or("");
  request.iso = spec.vm_source_config.iso.value_or("");
  if (!request.iso.empty() && spec.disk_gb) request.disk_gb = *spec.disk_gb;
  if (const auto& sum = spec.vm_source_config.checksum) {
    request.checksum = image::parse_checksum("checksum", *sum);
  }
  request.uefi = spec.uefi_boot;
  request.secure_boot = spec.secure_boot;
  request.disk_controller = spec.disk_controller.value_or("");
  request.os_type = spec.os_type;
  request.storage = spec.storage;
  return request;
}

Vm::Vm(std::shared_ptr<Host> host, VmSpec spec, std::string name, Mark mark)
    : host_{std::move(host)},
      spec_{std::move(spec)},
      name_{std::move(name)},
      mark_{std::move(mark)} {}

std::string Vm::text() const {
  return fmt::format("VM {} ({}) on node {}", vmid(), name_, node());
}

std::string Vm::console_url() const {
  return fmt::format("https://{}:{}/?console=kvm&novnc=1&vmid={}&node={}", host(),
                     host_->instance().port, vmid(), node());
}

std::map<std::string, double> Vm::timings() const {
  return {{"clone", clone_},
          {"configure", configure_},
          {"start", start_},
          {"agent", agent_},
          {"commands", commands_}};
}

void Vm::join(network::Plan plan, network::SharedSet networks) {
  plan_ = std::move(plan);
  networks_ = std::move(networks);
}

bool Vm::is_in_closed_subnet() const {
  if (!spec_.cards || !networks_) return false;
  return std::ranges::any_of(*spec_.cards, [&](const network::Card& card) {
    return card.vnet && !networks_->plan.vnets[*card.vnet].subnets.empty() &&
           networks_->plan.isolation.closed;
  });
}

// --- from spec to running ------------------------------------------------------------------------

awaitable<void> Vm::bring_up() {
  co_await configure(co_await clone_template());
  co_await start();
  if (on_start_) std::exchange(on_start_, nullptr)();
  if (!spec_.is_sandbox) co_return;
  co_await wait_for_agent();
  co_await wait_for_cloud_init();
  co_await open_guest(guest::VmWatch::patience_with_a_guest);
  co_await wait_for_addresses();
}

/// Clones the template and says which it was. A template that was deleted since it was looked up is
/// looked up once more.
awaitable<image::Template> Vm::clone_template() {
  for (bool again = false;; again = true) {
    const auto base = co_await host_->template_of(template_request(spec_));
    if (spec_.is_sandbox && base.config.get("agent").empty()) {
      throw_bad_input(
          "vm_source_config", spec_.vm_source_config.text(),
          fmt::format("template {} has no guest agent configured; set agent=1 on it (and "
                      "install qemu-guest-agent), or set is_sandbox=False",
                      base.vm.vmid));
    }
    check_against_template(spec_, base);
    check_disk_size(spec_, base);
    try {
      co_await clone(base);
      co_return base;
    } catch (const Error& error) {
      if (error.kind != Errc::not_found || again) throw;
    }
    host_->forget_templates();
  }
}

awaitable<void> Vm::clone(const image::Template& base) {
  const Timer timer{clone_};
  const auto limit = Deadline::after(task_limit);
  for (int attempt = 0;; ++attempt) {
    const pve::VmRef target{host_->node(), co_await host_->server().next_vmid(attempt > 0)};
    pve::qemu::Clone what{target.vmid};
    what.name = spec_.name.value_or(fmt::format("inspect-{}-{}", mark_.run, target.vmid));
    what.description = describe_mark(mark_);
    what.pool = spec_.pool.value_or("");
    if (spec_.full_clone || needs_copy(spec_, base)) {
      what.full = true;
      if (spec_.storage) what.storage = pve::StorageId::parse(*spec_.storage);
    }
    if (base.vm.node != target.node) what.target = target.node;
    // Known before the request is sent, so that destroy() finds it whatever happens.
    vm_ = target;
    source_node_ = base.vm.node;
    state_ = State::cloning;
    std::optional<Error> failure;
    try {
      co_await pve::qemu::clone(host_->client(), base.vm, what, limit);
      state_ = State::made;
      co_return;
    } catch (const Error& error) {
      failure = error;
    }
    if (failure->kind == Errc::unsupported ||
        failure->said.find("Linked clone feature") != std::string::npos) {
      what.full = true;
      co_await pve::qemu::clone(host_->client(), base.vm, what, limit);
      state_ = State::made;
      co_return;
    }
    if (failure->kind != Errc::already_exists || attempt == 50) throw *failure;
    // Another process was faster; that VM is not ours.
    vm_.reset();
    state_ = State::planned;
  }
}

awaitable<void> Vm::configure(image::Template base) {
  const Timer timer{configure_};
  pve::Params changes;
  changes.add("memory", spec_.ram_mb)
      .add("cores", spec_.vcpus)
      .add("sockets", 1)
      .add("ostype", spec_.os_type)
      .add("onboot", false);
  auto tags = pve::qemu::split_tags(base.config.get("tags"));
  std::erase_if(tags, [](const auto& tag) { return tag == common_tag; });
  tags.emplace_back(common_tag);
  tags.push_back(RunId{mark_.run}.tag());
  changes.add("tags", fmt::format("{}", fmt::join(tags, ";")));
  if (spec_.cpu) changes.add("cpu", *spec_.cpu);
  auto after = base.config;
  if (spec_.machine) {
    changes.add("machine", *spec_.machine);
    after.values["machine"] = *spec_.machine;
  }
  if (spec_.tpm && base.config.get("tpmstate0").empty()) {
    changes.add("tpmstate0", image::storage_of_drive(boot_disk_of(base)) + ":1,version=v2.0");
  }
  for (const auto& [option, value] : native_options(spec_)) {
    changes.add(option, value);
    after.values[option] = value;
  }
  co_await add_seed(after, changes);
  drive_ = spec_.is_sandbox ? image::cd_drive_of(after) : "";
  if (!drive_.empty() && base.config.get(drive_).empty()) changes.add(drive_, "none,media=cdrom");
  co_await fit_cards(base, changes);
  co_await set_options(std::move(changes));
  co_await grow_disk(base);
  co_await guard();
  co_await book_addresses();
}

awaitable<void> Vm::grow_disk(const image::Template& base) {
  if (!spec_.disk_gb || *spec_.disk_gb == image::gib_of_drive(boot_disk_of(base))) co_return;
  const auto limit = Deadline::after(task_limit);
  auto begin = [this, limit, disk = image::boot_disk(base.config)] {
    return pve::qemu::resize(host_->client(), *vm_, disk, *spec_.disk_gb, limit);
  };
  co_await pve::run_task(host_->client(), begin, limit, "grow the disk of " + text());
}

/// The cards that the configuration gives it; the template's own go.
awaitable<void> Vm::fit_cards(const image::Template& base, pve::Params& changes) {
  cards_.clear();
  guarded_.clear();
  if (!spec_.cards) {
    if (spec_.firewall) keep_cards(base, changes);
    co_return;
  }
  for (std::size_t i = 0; i < spec_.cards->size(); ++i) co_await fit_card(i, changes);
  std::vector<std::string> old;
  for (const auto& [option, value] : cards_of(base)) {
    if (std::stoul(option.substr(3)) >= spec_.cards->size()) old.push_back(option);
  }
  if (!old.empty()) changes.add("delete", fmt::format("{}", fmt::join(old, ",")));
}

awaitable<void> Vm::fit_card(std::size_t index, pve::Params& changes) {
  const auto& card = (*spec_.cards)[index];
  const auto option = fmt::format("net{}", index);
  // A MAC of our own choice spares reading the server's.
  const auto mac = card.mac.empty() ? network::random_mac() : card.mac;
  bool guarded = spec_.firewall;
  if (card.vnet) {
    const auto& plan = networks_->plan;
    const auto& vnet = plan.vnets[*card.vnet];
    const auto& id = networks_->vnets[*card.vnet];
    cards_.push_back({vnet.alias.empty() ? option : vnet.alias, mac, networks_->zone, id,
                      network::gives_ipv4(plan, vnet), card.ipv4});
    guarded = guarded || plan.isolation.closed;
    if (guarded) guarded_.push_back({option, plan.isolation.closed ? id.text() : "", id});
  } else {
    const auto vnet = co_await host_->server().existing_vnet(card, plan_);
    cards_.push_back({card.alias, mac, vnet.zone, vnet.id, false, card.ipv4});
    if (guarded) guarded_.push_back({option, "", vnet.id});
  }
  changes.add(option, fmt::format("{}={},bridge={}{}", spec_.nic_controller.value_or("virtio"), mac,
                                  cards_.back().vnet, guarded ? ",firewall=1" : ""));
}

/// The template's own cards, under the firewall.
void Vm::keep_cards(const image::Template& base, pve::Params& changes) {
  for (const auto& [option, value] : cards_of(base)) {
    guarded_.push_back({option});
    if (value.find(",firewall=1") == std::string::npos) {
      changes.add(option, without_firewall(value) + ",firewall=1");
    }
  }
}

/// Before the start, so that its first packet is looked at. (A real server's daemon puts rules into
/// force within seconds: docs/configuration.md.)
awaitable<void> Vm::guard() {
  if (guarded_.empty()) co_return;
  std::vector<network::Cidr> foreign;
  if (std::ranges::any_of(guarded_, [](const auto& card) { return card.group.empty(); })) {
    foreign = co_await host_->foreign_networks();
  }
  std::vector<pve::firewall::Rule> rules;
  for (const auto& card : guarded_) {
    std::vector<pve::firewall::Rule> own{{.type = "group", .action = card.group}};
    if (card.group.empty()) {
      own = co_await host_->server().rules_among_strangers(card.vnet, foreign);
    }
    for (auto& rule : own) {
      rule.iface = card.option;
      rules.push_back(std::move(rule));
    }
  }
  co_await pve::firewall::guard(host_->client(), *vm_, std::move(rules),
                                Deadline::after(task_limit));
}

/// The server books an address of its own choice when it gets a card; it takes another one's place
/// until the VM starts (pve-practice section 4).
awaitable<void> Vm::book_addresses() {
  for (const auto& card : cards_) {
    if (!card.fixed) continue;
    co_await pve::sdn::move_booking(host_->client(), card.zone, card.vnet, card.mac,
                                    card.fixed->to_string(), vm_->vmid,
                                    Deadline::after(task_limit));
  }
}

awaitable<void> Vm::start() {
  const Timer timer{start_};
  const auto limit = Deadline::after(task_limit);
  // Anew when a lock, or a network that is just being applied, was in the way.
  auto begin = [this, limit] { return pve::qemu::start(host_->client(), *vm_, limit); };
  co_await pve::run_task(host_->client(), begin, limit, "start " + text());
}

guest::VmWords Vm::words() const {
  return {text(), console_url()};
}

awaitable<void> Vm::wait_for_agent() {
  const Timer timer{agent_};
  const auto limit = Deadline::after(boot_limit);
  guest::VmWatch watch{host_->client(), *vm_, words(), boot_limit};
  for (auto pause = 100ms;; pause = std::min(pause * 2, 1000ms)) {
    std::optional<Error> failure;
    {
      const auto permit = co_await host_->boot_pings.acquire();
      try {
        co_await watch.over<void>([this](pve::CallOptions options) {
          return pve::agent::ping(host_->client(), *vm_, std::move(options));
        });
      } catch (const Error& error) {
        failure = error;
      }
    }
    if (!failure) co_return;
    if (failure->kind != Errc::agent_down && failure->sent != Sent::maybe) {
      if (failure->kind == Errc::unavailable) failure->doing = "wait for the guest to boot";
      throw *failure;
    }
    if (limit.passed(std::chrono::steady_clock::now())) {
      throw Error{Errc::agent_down,
                  fmt::format("the guest agent of {} did not answer within {} min", text(),
                              boot_limit.count())}
          .with_hint("Is qemu-guest-agent installed and started in the guest? Its console: " +
                     console_url());
    }
    co_await sleep_for(pause);
  }
}

/// Calls that still run hold the old one; what it remembers of the guest may not be true any more.
awaitable<void> Vm::open_guest(std::chrono::seconds patience) {
  std::optional<guest::MediumPlace> place;
  if (!drive_.empty()) {
    if (const auto storage = co_await host_->iso_storage()) {
      place = guest::MediumPlace{drive_, *storage, "inspect-" + mark_.run + "-"};
    }
  }
  auto channel = std::make_shared<guest::AgentChannel>(host_->client(), *vm_, std::move(place),
                                                       words(), patience);
  if (is_windows()) {
    guest_ = std::make_shared<guest::WindowsGuest>(std::move(channel));
  } else {
    guest_ = std::make_shared<guest::LinuxGuest>(std::move(channel), host_->client().pool(),
                                                 spec_.user.value_or("root"));
  }
}

awaitable<void> Vm::wait_for_addresses() {
  if (cards_.empty()) co_return;
  const Timer timer{agent_};
  addresses_ = co_await network::wait_for_addresses(host_->client(), *vm_, cards_, text(),
                                                    Deadline::after(address_limit));
}

// --- back to nothing -----------------------------------------------------------------------------

awaitable<void> Vm::destroy() {
  // Clean-up, sweep and an undone start may meet here.
  const auto permit = co_await one_end_.acquire();
  if (state_ == State::planned || state_ == State::destroyed) co_return;
  // Only after an unfinished clone can the number be someone else's.
  if (state_ == State::made || co_await is_ours()) co_await remove();
  // One for another node may have moved there while it was being removed.
  const bool may_have_moved = state_ == State::cloning && source_node_ != host_->node();
  if (may_have_moved && co_await is_ours()) co_await remove();
  state_ = State::destroyed;
}

awaitable<void> Vm::remove() {
  const auto same = [object = mark_.object](const pve::qemu::VmConfigMap& config) {
    const auto mark = find_mark(config.get("description"));
    return mark && mark->object == object;
  };
  const auto limit = Deadline::after(task_limit);
  const auto turn = co_await with_deadline(host_->removals.acquire(), limit, "remove " + text());
  co_await remove_vm(host_->client(), *vm_, text(), same, false, limit);
}

awaitable<bool> Vm::is_ours() {
  std::vector<pve::NodeName> nodes{host_->node()};
  if (source_node_ && *source_node_ != host_->node()) nodes.push_back(*source_node_);
  // A clone whose answer was lost may come into being a moment later.
  for (int look = 0; look < 3; ++look) {
    if (look > 0) co_await sleep_for(500ms);
    for (const auto& node : nodes) {
      vm_->node = node;
      const auto config = co_await pve::qemu::config_if_there(host_->client(), *vm_);
      if (!config) continue;
      const auto mark = find_mark(config->get("description"));
      co_return mark && mark->object == mark_.object;
    }
  }
  co_return false;
}

// --- in between ----------------------------------------------------------------------------------

std::shared_ptr<guest::Guest> Vm::guest() const {
  if (!guest_ || state_ != State::made) {
    throw Error{Errc::unavailable, text() + " is not running"};
  }
  return guest_;
}

awaitable<guest::ExecResult> Vm::exec(guest::ExecRequest request) {
  auto run = [](std::shared_ptr<Vm> self, guest::ExecRequest what) -> awaitable<guest::ExecResult> {
    const Timer timer{self->commands_};
    const auto guest = self->guest();
    co_return co_await guest->exec(std::move(what));
  };
  return run(shared_from_this(), std::move(request));
}

awaitable<std::string> Vm::read_file(std::string path, std::uint64_t limit) {
  auto run = [](std::shared_ptr<Vm> self, std::string what,
                std::uint64_t most) -> awaitable<std::string> {
    const Timer timer{self->commands_};
    const auto guest = self->guest();
    co_return co_await guest->read_file(std::move(what), most);
  };
  return run(shared_from_this(), std::move(path), limit);
}

awaitable<void> Vm::write_file(std::string path, std::string contents) {
  auto run = [](std::shared_ptr<Vm> self, std::string what, std::string bytes) -> awaitable<void> {
    const Timer timer{self->commands_};
    const auto guest = self->guest();
    co_await guest->write_file(std::move(what), std::move(bytes));
  };
  return run(shared_from_this(), std::move(path), std::move(contents));
}

}  // namespace px::sandbox
