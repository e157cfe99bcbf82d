#pragma once
#include "guest/channel.hpp"

#include <cstdint>
#include <string>
#include <vector>

/// What goes into a launch of the scripts.
namespace px::guest::linux_guest {

struct RunRequest {
  std::string id;
  std::string program;         ///< shell text of guest/linux/program.hpp; empty = staged
  std::string standard_input;  ///< `none`, `rest`, `dir:...`, `medium:...`
  std::string rest;            ///< the bytes for `rest`
  std::string user = "root";
  std::string home_user = "root";
  std::uint64_t keep = 0;  ///< bytes of each stream to keep
};

/// True if program and input fit into one launch.
bool fits_inline(const RunRequest& request);

/// `boot_id`: empty for a first launch. `forget`: records to remove.
Launch run_launch(const RunRequest& request, const std::string& boot_id,
                  const std::vector<std::string>& forget);
Launch kill_launch(const std::string& id);
/// Readies the output of a command that is longer than an answer; `limit` bytes of each stream.
Launch pack_launch(const std::string& id, std::uint64_t limit);

}  // namespace px::guest::linux_guest
