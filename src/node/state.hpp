#pragma once
#include "support/file_lock.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace px::node {

/// The one directory that holds all of a node: it survives a restart, `kill -9` included. Files
/// are replaced whole, so that a reader sees the old or the new text, never half of one.
class State {
 public:
  /// How much a written file outlives: a power cut, too, at the price of a flush of the disk.
  enum class Lasting : std::uint8_t { power_cut, kill };

  /// Makes the directory, for the user's eyes only, and takes its lock. Throws Error{busy} when
  /// another node has it.
  explicit State(std::filesystem::path directory, Lasting lasting = Lasting::power_cut);
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  const std::filesystem::path& directory() const noexcept { return directory_; }
  std::filesystem::path path(std::string_view name) const { return directory_ / name; }

  std::optional<std::string> read(std::string_view name) const;
  /// Writes beside and renames. Throws Error{server} ("No space left on device"...).
  void write(std::string_view name, std::string_view text) const;
  void remove(std::string_view name) const;

 private:
  std::filesystem::path directory_;
  Lasting lasting_;
  std::optional<FileLock> lock_;
};

}  // namespace px::node
