#include "node/vm/cloud_init_routes.hpp"

#include "node/vm/cloud_init.hpp"
#include "node/vm/password.hpp"
#include "node/vm/vm_options.hpp"

namespace px::node {

void CloudInitRoutes::add_routes(Router& router) {
  const auto self = shared_from_this();
  add_vm_route(router, self, "GET", "/{vmid}/cloudinit", {}, &CloudInitRoutes::pending, false);
  add_vm_route(router, self, "PUT", "/{vmid}/cloudinit", {}, &CloudInitRoutes::regenerate);
  add_vm_route(router, self, "GET", "/{vmid}/cloudinit/dump",
               {{.name = "type", .required = true, .one_of = {"user", "network", "meta"}}},
               &CloudInitRoutes::dump, false);
}

awaitable<json::value> CloudInitRoutes::pending(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  const Options now = cloud_init_options(vm->config.current);
  // Without an image, nothing differs from it.
  const bool has_image = find_cloud_init_drive(vm->id, vm->config.current).has_value();
  const Options& made_of = has_image ? vm->config.cloud_init : now;
  json::array out;
  for (const auto& [name, value] : now) {
    json::object entry{{"key", name}};
    const auto used = made_of.find(name);
    if (used != made_of.end()) entry["value"] = option_to_json(name, used->second);
    if (used == made_of.end() || used->second != value) {
      entry["pending"] = option_to_json(name, value);
    }
    out.push_back(std::move(entry));
  }
  for (const auto& [name, value] : made_of) {
    if (!now.contains(name)) out.push_back(json::object{{"key", name}, {"delete", 1}});
  }
  co_return out;
}

awaitable<json::value> CloudInitRoutes::regenerate(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  const auto permit = co_await services_.vms.lock(vm);
  Vms::check_config_lock(*vm);
  const auto drive = find_cloud_init_drive(vm->id, vm->config.current);
  if (!drive) co_return nullptr;
  co_await drive_.generate(vm);
  if (vm->machine->status().running) {
    co_await vm->machine->change_medium(drive->name,
                                        services_.vms.storages().existing(drive->volume).path);
  }
  co_return nullptr;
}

awaitable<json::value> CloudInitRoutes::dump(Call& call) {
  const VmPtr vm = services_.vms.of(call);
  Options options = vm->config.current;
  const std::string& type = call.text("type");
  // The identity is that of the real texts, also of the password.
  if (type == "meta") co_return json::value(cloud_init_texts(options, vm->id).meta);
  if (options.contains("cipassword")) options["cipassword"] = hidden_password;
  const CloudInitTexts texts = cloud_init_texts(options, vm->id);
  co_return json::value(type == "user" ? texts.user : texts.network);
}

}  // namespace px::node
