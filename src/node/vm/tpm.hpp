#pragma once
#include "node/vm/vm_config.hpp"
#include "support/process.hpp"

#include <filesystem>

/// A VM's TPM, emulated by `swtpm` in a process of its own.
///
/// QEMU and it talk over a pair of sockets that nobody else has: it ends with its QEMU, whether
/// the node still lives or not, and nothing of it is left but its state, in the volume `tpmstate0`.
namespace px::node {

/// Two connected sockets, closed with their owner.
class SocketPair {
 public:
  /// Throws Error{internal}.
  SocketPair();
  ~SocketPair();
  SocketPair(const SocketPair&) = delete;
  SocketPair& operator=(const SocketPair&) = delete;
  int left() const noexcept { return left_; }
  int right() const noexcept { return right_; }

 private:
  int left_ = -1;
  int right_ = -1;
};

/// Starts the emulator on `socket`, with its state in the file `state` (an empty one is a new TPM).
/// Start it after its QEMU: alone, it would not end when its other end is closed (swtpm 0.7).
/// Throws Error{unsupported} when swtpm is not installed.
Process start_tpm(const Properties& tpm_state, const std::filesystem::path& state, int socket,
                  const std::filesystem::path& directory, const std::filesystem::path& log);

}  // namespace px::node
