#pragma once
#include "image/recipe.hpp"
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "pve/storage.hpp"
#include "support/async.hpp"

#include <filesystem>
#include <string>
#include <string_view>

/// ISO images that VMs boot from. They stay on the server as long as a VM has them in a drive.
namespace px::image {

/// `local:iso/debian.iso`: it is on the server already.
bool is_iso_volume(std::string_view text);

/// Throws Error{bad_input} for a file that is no ISO 9660 or UDF image. Blocks.
void check_install_medium(const std::filesystem::path& file);

/// The name that a file of this content gets on the server.
std::string install_medium_name(std::string_view sha256);
/// Whether it is such a name.
bool is_install_medium(const std::string& file_name);

/// Throws Error{bad_input} with the ISO images that there are.
awaitable<pve::storage::Volume> find_medium(pve::Client& client, pve::NodeName node,
                                            pve::VolumeId volume);

/// Its volume; uploaded to `storage` when no storage of the node has it whole.
awaitable<pve::VolumeId> put_medium(pve::Client& client, pve::NodeName node, pve::StorageId storage,
                                    InstallMedium medium, Deadline limit);

}  // namespace px::image
