#include "node/vm/config_change.hpp"

#include "node/network/sdn.hpp"
#include "node/vm/devices.hpp"

#include <algorithm>
#include <array>

namespace px::node {

namespace {

/// Options that no running machine notices.
const std::set<std::string, std::less<>> at_once{
    "cicustom",   "cipassword", "citype",        "ciupgrade",        "ciuser",        "description",
    "hookscript", "hotplug",    "lock",          "migrate_downtime", "migrate_speed", "name",
    "onboot",     "nameserver", "protection",    "searchdomain",     "shares",        "sshkeys",
    "startup",    "tags",       "vmstatestorage"};

bool is_at_once(const std::string& name) {
  return at_once.contains(name) || name.starts_with("unused") || name.starts_with("ipconfig");
}

bool has_hotplug(const Options& options, std::string_view feature) {
  const std::string text = option_or(options, "hotplug", "network,disk,usb");
  if (text == "1") return true;
  if (text == "0") return false;
  return ("," + text + ",").find(fmt::format(",{},", feature)) != std::string::npos;
}

/// Whether a NIC stays the same card: the guest sees nothing of the change.
bool is_same_card(const std::string& left, const std::string& right) {
  constexpr std::array<std::string_view, 3> outside{"bridge", "firewall", "link_down"};
  Properties a{left};
  Properties b{right};
  for (const auto key : outside) {
    a.erase(key);
    b.erase(key);
  }
  return a.print() == b.print();
}

bool plugs_drives(const Options& options, const std::string& name) {
  return name.starts_with("scsi") && has_hotplug(options, "disk") &&
         option_or(options, "scsihw").starts_with("virtio-scsi");
}

bool plugs_nics(const Options& options) {
  return has_hotplug(options, "network") && !is_q35(options);
}

class Planner {
 public:
  Planner(const VmConfig& now, bool running) : plan_{now, {}}, running_{running} {}

  ConfigPlan plan(const ConfigChange& change) {
    for (const auto& name : change.revert) forget_pending(name);
    for (const auto& name : change.remove) remove(name);
    for (const auto& [name, value] : change.set) set(name, value);
    drop_used();
    return std::move(plan_);
  }

 private:
  Options& current() { return plan_.config.current; }

  /// A disk that a drive has again is no longer unused (qemu-server, write_vm_config).
  void drop_used() {
    std::set<std::string> used;
    for (const auto* options : {&current(), &plan_.config.pending}) {
      for (const auto& drive : drives_of(*options)) used.insert(drive.volume);
    }
    std::erase_if(current(), [&used](const auto& option) {
      return option.first.starts_with("unused") && used.contains(option.second);
    });
  }

  void forget_pending(const std::string& name) {
    plan_.config.pending.erase(name);
    std::erase(plan_.config.pending_delete, name);
  }

  void step(HotplugStep::Kind kind, const std::string& name) {
    plan_.steps.push_back({kind, name});
  }

  void set(const std::string& name, const std::string& value) {
    forget_pending(name);
    const auto old = current().find(name);
    const bool is_new = old == current().end();
    const bool is_drive = is_drive_option(name);
    const bool to_cdrom = is_drive && Drive::parse(name, value).is_cdrom();
    const bool from_cdrom = is_drive && !is_new && Drive::parse(name, old->second).is_cdrom();
    const bool medium = to_cdrom && from_cdrom;
    if (is_drive && is_new && !Drive::parse(name, value).is_state()) append_to_boot_order(name);
    if (!running_ || is_at_once(name)) {
      current()[name] = value;
      return;
    }
    // The same medium put in again is a new medium: its file may have changed.
    if (!is_new && old->second == value && !medium) return;
    plan_.config.pending[name] = value;
    if (medium) {
      step(HotplugStep::Kind::change_medium, name);
    } else if (is_new && is_drive && plugs_drives(current(), name)) {
      step(HotplugStep::Kind::plug_drive, name);
    } else if (is_new && is_nic_option(name) && plugs_nics(current())) {
      step(HotplugStep::Kind::plug_nic, name);
    } else if (!is_new && is_nic_option(name) && is_same_card(old->second, value)) {
      step(HotplugStep::Kind::move_nic, name);
    }
  }

  void remove(const std::string& name) {
    forget_pending(name);
    if (!current().contains(name)) return;
    if (!running_ || is_at_once(name)) {
      current().erase(name);
      return;
    }
    plan_.config.pending_delete.push_back(name);
    if (is_drive_option(name) && plugs_drives(current(), name)) {
      step(HotplugStep::Kind::unplug_drive, name);
    } else if (is_nic_option(name) && plugs_nics(current())) {
      step(HotplugStep::Kind::unplug_nic, name);
    }
  }

  /// PVE adds new drives to the order that is written (pve-facts 10a).
  void append_to_boot_order(const std::string& name) {
    const Options after = plan_.config.after_pending();
    Properties boot{option_or(after, "boot")};
    const std::string order = boot.get("order");
    if (order.empty() || (";" + order + ";").find(";" + name + ";") != std::string::npos) return;
    boot.set("order", order + ";" + name);
    set("boot", boot.print());
  }

  ConfigPlan plan_;
  bool running_;
};

}  // namespace

ConfigPlan plan_change(const VmConfig& now, const ConfigChange& change, bool running) {
  return Planner{now, running}.plan(change);
}

void settle(VmConfig& config, const std::string& option) {
  if (auto pending = config.pending.extract(option)) {
    config.current[option] = pending.mapped();
  }
  if (std::erase(config.pending_delete, option) > 0) config.current.erase(option);
}

}  // namespace px::node
