#pragma once
#include "network/sets.hpp"
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "support/async.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// What of ours is on a server for samples, told by its marks alone. (Templates and what they are
/// made of are image::Inventory's.)
namespace px::sandbox {

/// A VM tagged `inspect`, or with our mark in its description: a clone is born with that, its tags
/// come a request later.
struct OwnVm {
  pve::VmRef vm;
  std::string name;
  std::string run;  ///< empty: of the existing provider perhaps
  std::string task{};
  std::string sample{};
  std::string owner{};                              ///< "alice@desk, process 4711"
  std::optional<std::chrono::sys_seconds> since{};  ///< none: of an older version
  std::string status{};                             ///< running, stopped
  std::string description{};
  bool is_being_made = false;  ///< a template that is not ready
  std::int64_t memory = 0;     ///< bytes that it may have
};

/// A medium for guests, or an image that a template is made from.
struct OwnFile {
  pve::NodeName node;
  pve::VolumeId volume;
  std::string run;
  std::int64_t size = 0;  ///< bytes
};

struct Belongings {
  std::vector<OwnVm> vms;
  std::vector<OwnFile> files;
  std::vector<network::Remains> networks;  ///< of the whole cluster
};

/// A request for each VM of these nodes that is no template, for each storage's files, and a few
/// more.
awaitable<Belongings> find_belongings(pve::Client& client, std::vector<pve::NodeName> nodes);

}  // namespace px::sandbox
