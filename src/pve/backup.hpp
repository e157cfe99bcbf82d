#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "pve/storage.hpp"

#include <map>
#include <string>
#include <vector>

/// vzdump archives of VMs: storages' content `backup`, and /nodes/{node}/vzdump.
namespace px::pve::backup {

/// Those of VMs on all storages of a node that the caller may see.
awaitable<std::vector<storage::Volume>> list(Client& client, NodeName node);

/// The options of the VM in an archive, without those of snapshots. Needs VM.Backup on it or
/// Datastore.Allocate (schema, extractconfig).
awaitable<std::map<std::string, std::string>> config(Client& client, NodeName node,
                                                     VolumeId archive);

}  // namespace px::pve::backup
