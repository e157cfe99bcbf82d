#pragma once
#include "image/recipe.hpp"
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "support/async.hpp"

#include <functional>
#include <optional>
#include <string>

/// From a recipe to a template on a server: claimed, uploaded, imported, converted.
namespace px::image {

struct Kitchen {
  pve::NodeName node;
  std::string storage;  ///< of the template's disks
  std::string run;      ///< 8 characters [0-9a-f]; it is in the names of uploads
  std::string note;     ///< the description of what is made; ends with a line feed
  std::function<bool(const std::string& note)> is_dead{};
  /// The bridge of a network with DHCP and a way to the internet, for cloud images.
  std::function<awaitable<std::string>()> uplink{};
};

/// Makes the template, or waits for the process that makes it. What is left of a failure is
/// removed. Errors: bad_input (the storage, the source), unsupported (no storage takes uploads, or
/// has not room enough), and the server's.
awaitable<pve::VmRef> bake(pve::Client& client, Kitchen kitchen, Recipe recipe);

/// The same for a backup on the server (recipe_of_backup()).
awaitable<pve::VmRef> restore(pve::Client& client, Kitchen kitchen, Recipe recipe);

/// The run that uploaded a file of this name, if it is one of ours: it stays only when its maker
/// died.
std::optional<std::string> run_of_upload(const std::string& file_name);

}  // namespace px::image
