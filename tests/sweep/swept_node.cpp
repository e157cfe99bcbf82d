#include "sweep/swept_node.hpp"

#include "image/cloud_seed.hpp"

#include <set>

namespace px::testing {

namespace {

using namespace std::chrono_literals;

node::NodeOptions options_of(const std::filesystem::path& directory, const std::string& name,
                             std::shared_ptr<node::SimulatedGuest> guest) {
  auto options = NodeUnderTest::options_for(name);
  options.directory = directory;
  options.simulation->boot_time = 0ms;
  options.simulation->guest = std::move(guest);
  options.refusal_delay = 10ms;
  return options;
}

std::string line(const std::string& what, const json::value& entry) {
  return what + " " + boost::json::serialize(entry);
}

}  // namespace

SweptNode::SweptNode(const std::filesystem::path& directory, const std::string& name,
                     std::shared_ptr<node::SimulatedGuest> guest)
    : name_{name}, node_{options_of(directory, name, std::move(guest))} {
  // Nobody's business but its owner's: clean-up must not touch it.
  node_.end_of_task(
      node_.call("POST", fmt::format("/nodes/{}/qemu", name), "vmid=900&name=inspect-00000000-900")
          .text());
  node_.call("POST", "/cluster/sdn/zones", "zone=office&type=simple");
  node_.call("POST", "/cluster/sdn/vnets", "zone=office&vnet=office");
  node_.call("POST", "/cluster/firewall/groups", "group=office");
  node_.call("POST", "/pools", fmt::format("poolid=inspect-00000000-{}&comment=office", name));
  node_.end_of_task(node_.call("PUT", "/cluster/sdn").text());
}

void SweptNode::settle() {
  settled_ = things();
}

void SweptNode::arm(int n, const std::string& fault) {
  control("reset", "");
  control("faults", fmt::format("{}&nth={}", fault, n));
}

void SweptNode::arm(int n, std::function<void()> call) {
  control("reset", "");
  node::Fault fault;
  fault.action = node::Fault::Action::call;
  fault.nth = n;
  fault.call = std::move(call);
  node_.add_fault(std::move(fault));
}

int SweptNode::disarm() {
  const auto counted = node_.send("GET", "/_control/requests", {}).data();
  control("reset", "");
  return static_cast<int>(json::number_at(counted, "total"));
}

std::vector<std::string> SweptNode::leftovers() const {
  const auto now = things();
  std::vector<std::string> out;
  for (const auto& [thing, kind] : now) {
    if (kind == Kind::must_stay && !settled_.contains(thing)) out.push_back("left: " + thing);
  }
  for (const auto& [thing, kind] : settled_) {
    if (!now.contains(thing)) out.push_back("not there any more: " + thing);
  }
  return out;
}

SweptNode::Things SweptNode::things() const {
  RawClient client{node_.port()};
  Things out;
  add_lock_and_tasks(client, out);
  add_vms(client, out);
  add_networks(client, out);
  for (const auto& pool : list(client, "/pools")) out.emplace(line("pool", pool), Kind::must_stay);
  return out;
}

/// Who deletes a medium does not wait for the task.
void SweptNode::add_lock_and_tasks(RawClient& client, Things& out) const {
  const auto running = [&] {
    return list(client, fmt::format("/nodes/{}/tasks", name_), "source=active");
  };
  auto tasks = running();
  for (int look = 0; look < 50 && !tasks.empty(); ++look) {
    std::this_thread::sleep_for(20ms);
    tasks = running();
  }
  for (const auto& task : tasks) out.emplace(line("task", task), Kind::must_stay);
  const auto lock = node_.call(client, "POST", "/cluster/sdn/lock", "allow-pending=1");
  if (lock.status == 200) {
    node_.call(client, "DELETE", "/cluster/sdn/lock", "lock-token=" + lock.text());
  } else {
    out.emplace("the SDN's lock", Kind::must_stay);
  }
}

/// With their volumes.
void SweptNode::add_vms(RawClient& client, Things& out) const {
  const auto of_node = "/nodes/" + name_;
  std::set<std::int64_t> templates;
  for (const auto& vm : list(client, of_node + "/qemu")) {
    const auto vmid = json::number_at(vm, "vmid");
    if (json::flag_or(vm, "template", false) && json::find(vm, "lock") == nullptr) {
      templates.insert(vmid);
      out.emplace(fmt::format("template {}", vmid), Kind::may_be_new);
      continue;
    }
    const auto config =
        node_.call(client, "GET", fmt::format("{}/qemu/{}/config", of_node, vmid)).data();
    out.emplace(line(fmt::format("VM {}, {},", vmid, json::text_or(vm, "status")), config),
                Kind::must_stay);
  }
  for (const auto* storage : {"local", "local-lvm"}) {
    for (const auto& volume :
         list(client, fmt::format("{}/storage/{}/content", of_node, storage))) {
      const auto volid = json::text_at(volume, "volid");
      const bool may_come = templates.contains(json::number_or(volume, "vmid", 0)) ||
                            image::is_seed(volid.substr(volid.rfind('/') + 1));
      out.emplace("volume " + volid, may_come ? Kind::may_be_new : Kind::must_stay);
    }
  }
}

/// Pending ones, too.
void SweptNode::add_networks(RawClient& client, Things& out) const {
  for (const auto& entry : list(client, "/cluster/sdn/zones", "pending=1")) {
    out.emplace(line("zone", entry), Kind::must_stay);
  }
  for (const auto& entry : list(client, "/cluster/sdn/vnets", "pending=1")) {
    out.emplace(line("VNet", entry), Kind::must_stay);
  }
  for (const auto& entry : list(client, "/cluster/firewall/groups")) {
    out.emplace(line("group", entry), Kind::must_stay);
  }
  for (const auto& entry : list(client, "/cluster/sdn/ipams/pve/status")) {
    out.emplace(line("address", entry), Kind::must_stay);
  }
}

json::array SweptNode::list(RawClient& client, const std::string& path,
                            const std::string& query) const {
  return node_.call(client, "GET", path, query).data().as_array();
}

void SweptNode::control(const std::string& path, const std::string& form) const {
  const auto reply = node_.send("POST", "/_control/" + path,
                                {{"Content-Type", "application/x-www-form-urlencoded"}}, form);
  if (reply.status != 200) throw Error{Errc::internal, path + " " + form + ": " + reply.body};
}

}  // namespace px::testing
