#pragma once
#include "image/bake.hpp"
#include "image/recipe.hpp"
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "pve/qemu.hpp"
#include "support/async.hpp"

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

/// Template VMs: what samples are cloned from. Found by tag, or made from an image.
namespace px::image {

struct Template {
  pve::VmRef vm;
  pve::qemu::VmConfigMap config;
};

/// The templates of one node, looked up once and kept. Not thread-safe: one I/O thread.
class Templates {
 public:
  /// `storage` takes the disks of templates that are made here, unless a request names another.
  /// What is made is `run`'s until it is ready, and bears `birth_note`, so that clean-up finds it
  /// after a crash; `is_dead` tells of such a note whether its maker surely is. `uplink`: as in
  /// Kitchen.
  Templates(pve::Client& client, pve::NodeName node, std::string storage, std::string run,
            std::string birth_note, std::function<bool(const std::string& note)> is_dead,
            std::function<awaitable<std::string>()> uplink);

  /// Different ones are made side by side. Errors: bad_input (a source, tag or storage that is
  /// wrong, with what there is), not_found (a built-in whose file is neither here nor as a template
  /// there), and the server's.
  awaitable<Template> get(TemplateRequest request);

  /// Looks again at the next get(): a template has gone.
  void forget() { known_.clear(); }

 private:
  using Vms = std::vector<pve::qemu::VmSummary>;

  awaitable<Template> find_existing(const TemplateRequest& request);
  awaitable<Template> find_or_restore(const TemplateRequest& request);
  awaitable<Recipe> read_recipe(const TemplateRequest& request);
  awaitable<Template> find_or_bake(const TemplateRequest& request);
  awaitable<std::optional<Template>> find_made(const Recipe& recipe, const Vms& vms);
  Kitchen kitchen_for(const TemplateRequest& request) const;
  awaitable<std::optional<Template>> find_of_old_provider(const Recipe& recipe, const Vms& vms);

  pve::Client& client_;
  pve::NodeName node_;
  std::string storage_;
  std::string run_;
  std::string birth_note_;
  std::function<bool(const std::string& note)> is_dead_;
  std::function<awaitable<std::string>()> uplink_;
  std::map<std::string, Template> known_;
  std::map<std::string, std::unique_ptr<Semaphore>> one_at_a_time_;  ///< of each request
};

}  // namespace px::image
