#pragma once
#include "support/async.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace px::guest {

/// What one launch carries into the guest.
struct Launch {
  std::vector<std::string> argv;  ///< a program that is there, by its path, and arguments; ASCII
  std::string input;              ///< standard input: any bytes, at most Channel::max_input
};

/// What the launched program itself said at its end.
struct LaunchEnd {
  int status = 0;
  std::string out;
  std::string err;
};

/// Names a running launch until its end has been told.
enum class LaunchId : std::int64_t {};

/// A medium that the guest can see as a CD-ROM: a 2048-byte header beginning with
/// "proxmox-sandbox NONCE ", then the payload.
struct Medium {
  std::string nonce;
  std::string payload;
};

/// Part of a file.
struct FilePart {
  std::string bytes;
  bool at_end = false;  ///< nothing follows
};

/// How bytes get into a guest and out of it. One per VM; calls may overlap.
///
/// Errors are px::Error; those of launch() with Sent::maybe may have started the program.
class Channel {
 public:
  /// Most bytes of Launch::input.
  static constexpr std::size_t max_input = 65536;
  /// Most bytes of write_file().
  static constexpr std::size_t max_content = 61440;

  virtual ~Channel() = default;

  /// Starts `what` as the agent's user (root, SYSTEM) and does not wait for it.
  virtual awaitable<LaunchId> launch(Launch what) = 0;

  /// The end of a launch, or nothing while it runs. An end is told only once: Errc::not_found
  /// afterwards (and after a lost answer).
  virtual awaitable<std::optional<LaunchEnd>> poll(LaunchId launch) = 0;

  /// At most `count` bytes (1..1 MiB) of a file from `offset`.
  virtual awaitable<FilePart> read_file(std::string path, std::uint64_t offset,
                                        std::uint64_t count) = 0;

  /// Replaces a file's content, with what max_content allows. Makes no directories.
  virtual awaitable<void> write_file(std::string path, std::string bytes) = 0;

  /// True when with_medium() can work at all.
  virtual bool has_medium() const noexcept = 0;

  /// Shows `medium` to the guest while `use` runs; one at a time in a VM.
  virtual awaitable<void> with_medium(Medium medium, awaitable<void> use) = 0;
};

}  // namespace px::guest
