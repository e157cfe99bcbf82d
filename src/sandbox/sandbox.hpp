#pragma once
#include "guest/diagnosis.hpp"
#include "guest/guest.hpp"
#include "network/addresses.hpp"
#include "network/leases.hpp"
#include "sandbox/host.hpp"
#include "sandbox/marks.hpp"
#include "sandbox/places.hpp"
#include "sandbox/spec.hpp"

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

/// A sample's world: its VMs, from spec to running, and back to nothing.
namespace px::sandbox {

/// The template that a VM is cloned from.
image::TemplateRequest template_request(const VmSpec& spec);

/// One VM of a sample. Lives as long as someone holds it; its VM as long as its Sandbox says.
class Vm : public std::enable_shared_from_this<Vm> {
 public:
  Vm(std::shared_ptr<Host> host, VmSpec spec, std::string name, Mark mark);

  const std::string& name() const noexcept { return name_; }
  bool is_sandbox() const noexcept { return spec_.is_sandbox; }
  /// 0 before the VM exists.
  std::uint32_t vmid() const noexcept { return vm_ ? vm_->vmid.number() : 0; }
  const std::string& node() const noexcept { return host_->node().text(); }
  const std::string& host() const noexcept { return host_->instance().host; }
  std::string console_url() const;
  /// Seconds by step: clone, configure, start, agent, commands. Any thread, once it is up.
  std::map<std::string, double> timings() const;

  /// Addresses by VNet, as the guest showed them when it had come up: an alias, or `net0` for a
  /// VNet without one. Any thread, once it is up.
  const network::Addresses& addresses() const noexcept { return addresses_; }
  bool is_windows() const { return sandbox::is_windows(spec_); }

  /// Whether a card of it is in a network that its sample's firewall closes and the server has an
  /// address in.
  bool is_in_closed_subnet() const;

  /// The networks of its sample, before bring_up(): of the plan that its cards are of.
  void join(network::Plan plan, network::SharedSet networks);
  /// Called once the server has started it, before its guest is waited for.
  void when_started(std::function<void()> call) { on_start_ = std::move(call); }
  /// Clones, configures, starts, and waits for the agent and the guest's addresses. What it began
  /// is undone by destroy().
  awaitable<void> bring_up();
  /// Stops and deletes the VM, whatever state it is in; nothing when it never came to be. Deletes
  /// only what carries this VM's own mark. Errors say what is left.
  awaitable<void> destroy();

  /// See guest::Guest. Each holds this object while it runs. Error{unavailable} once destroyed.
  awaitable<guest::ExecResult> exec(guest::ExecRequest request);
  awaitable<std::string> read_file(std::string path, std::uint64_t limit);
  awaitable<void> write_file(std::string path, std::string contents);

  /// Snapshots with memory. Names: 2..40 of [A-Za-z0-9_-], a letter first. Error{bad_input} naming
  /// the snapshots there are, where one is missing or taken.
  awaitable<void> create_snapshot(std::string name, std::string description);
  awaitable<void> restore_snapshot(std::string name);
  awaitable<void> delete_snapshot(std::string name);
  /// JSON: a list of {name, description, parent, snaptime, vmstate}.
  awaitable<std::string> list_snapshots();

  /// For messages: "VM 101 (victim) on node pve1".
  std::string text() const;

 private:
  enum class State { planned, cloning, made, destroyed };
  /// A card that the firewall looks after.
  struct GuardedCard {
    std::string option;                 ///< net0
    std::string group{};                ///< of its VNet's rules; empty: it is among strangers
    std::optional<pve::VnetId> vnet{};  ///< of these
  };
  using Seconds = std::atomic<double>;

  awaitable<image::Template> clone_template();
  awaitable<void> clone(const image::Template& base);
  awaitable<void> configure(image::Template base);
  awaitable<void> add_seed(pve::qemu::VmConfigMap& after, pve::Params& changes);
  awaitable<void> set_options(pve::Params changes);
  awaitable<void> grow_disk(const image::Template& base);
  awaitable<void> fit_cards(const image::Template& base, pve::Params& changes);
  awaitable<void> fit_card(std::size_t index, pve::Params& changes);
  void keep_cards(const image::Template& base, pve::Params& changes);
  awaitable<void> guard();
  awaitable<void> book_addresses();
  awaitable<void> start();
  awaitable<void> wait_for_agent();
  awaitable<void> open_guest(std::chrono::seconds patience);
  guest::VmWords words() const;
  awaitable<void> wait_for_cloud_init();
  awaitable<void> wait_for_addresses();
  awaitable<bool> is_ours();
  awaitable<void> remove();
  awaitable<void> change_snapshot(std::string name, std::string what, awaitable<pve::Upid> request,
                                  Deadline limit);
  std::shared_ptr<guest::Guest> guest() const;

  std::shared_ptr<Host> host_;
  VmSpec spec_;
  std::string name_;
  Mark mark_;
  State state_ = State::planned;
  std::optional<pve::VmRef> vm_;
  std::optional<pve::NodeName> source_node_;  ///< its template's
  std::string drive_;
  network::Plan plan_;
  network::SharedSet networks_;
  std::vector<network::FittedCard> cards_;
  std::vector<GuardedCard> guarded_;
  std::function<void()> on_start_;
  network::Addresses addresses_;
  std::shared_ptr<guest::Guest> guest_;
  Semaphore one_end_{1};
  Seconds clone_{0}, configure_{0}, start_{0}, agent_{0}, commands_{0};
};

/// The VMs of one sample, its networks, and its place on a host.
class Sandbox {
 public:
  Sandbox(std::shared_ptr<Place> place, const Spec& spec, const RunId& run, const std::string& task,
          const std::string& sample);

  /// In the spec's order. Fixed at construction.
  const std::vector<std::shared_ptr<Vm>>& vms() const noexcept { return vms_; }

  /// Leases networks, then all VMs side by side, save those that others wait for
  /// (await_before_next_vm). On an error or a cancellation everything is undone before it is
  /// thrown.
  awaitable<void> bring_up();

  /// Deletes all VMs, side by side, going on past failures, and gives the networks back when no VM
  /// is left in them. Throws the first failure, and sets the host aside. Idempotent.
  awaitable<void> destroy();

  /// Its sample has ended and its VMs stay: the place is given back.
  void leave();

  const Host& host() const noexcept { return *host_; }
  bool has_place() const noexcept { return place_ != nullptr; }
  /// The server has done its part: what fails now is a guest's.
  bool is_made() const noexcept { return started_ == vms_.size(); }
  /// destroy() failed.
  bool is_left() const noexcept { return is_left_; }
  bool gone() const noexcept { return gone_; }

 private:
  awaitable<void> bring_up_in_its_place();
  awaitable<void> bring_up_in_order();
  awaitable<void> undo_bring_up();
  awaitable<void> check_isolation();
  awaitable<void> destroy_all();
  void count_start();

  std::shared_ptr<Place> place_;
  std::shared_ptr<Host> host_;
  std::vector<std::shared_ptr<Vm>> vms_;
  std::vector<bool> awaited_;
  network::Plan plan_;
  bool verify_isolation_;
  std::string task_;
  network::SharedSet networks_;
  std::size_t started_ = 0;
  bool is_left_ = false;
  bool gone_ = false;
};

}  // namespace px::sandbox
