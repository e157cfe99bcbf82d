#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The guest agent of a VM: /nodes/{node}/qemu/{vmid}/agent. Source: qemu-server
/// API2/Qemu/Agent.pm; checked on PVE 9.2.
///
/// Errors: agent_down (not running yet, or it did not answer in time: `sent` tells whether the
/// command may have reached the guest), unavailable (VM not running), unsupported (no `agent:` in
/// the configuration).
namespace px::pve::agent {

/// Returns when the agent answers. A miss takes the server 3 s. Repeatable.
awaitable<void> ping(Client& client, VmRef vm, CallOptions options = {});

/// Starts `argv` (ASCII only: a wider character kills the agent's channel) and returns its pid,
/// without waiting. `input`: 0..65536 bytes for its standard input. Never repeated: with
/// Sent::maybe the command may be running. A missing program is Errc::proxy after 5 s.
awaitable<std::int64_t> exec(Client& client, VmRef vm, std::vector<std::string> argv,
                             std::string input, CallOptions options = {});

struct ExecStatus {
  bool exited = false;
  std::optional<int> exit_code;
  std::optional<int> signal;
  std::string out;  ///< bytes
  std::string err;  ///< bytes
  bool out_truncated = false;
  bool err_truncated = false;
};
/// The end is told once: afterwards (also when its answer was lost) Errc::not_found.
awaitable<ExecStatus> exec_status(Client& client, VmRef vm, std::int64_t pid,
                                  CallOptions options = {});

struct FilePiece {
  std::string bytes;
  bool truncated = false;  ///< more follows
};
/// Bytes from `offset` on, at most `count` (1..16 MiB, better <= 1 MiB). Servers before PVE 9.1
/// know no offset: there the first 16 MiB are read each time and cut here; beyond them
/// Errc::unsupported. Errors of the guest: file_not_found, file_permission, is_directory.
awaitable<FilePiece> read_file(Client& client, VmRef vm, std::string path, std::uint64_t offset,
                               std::uint64_t count, CallOptions options = {});

/// Replaces a file's content: at most 61440 bytes, as root, no new directories. Repeatable.
awaitable<void> write_file(Client& client, VmRef vm, std::string path, std::string bytes,
                           CallOptions options = {});

/// A network interface as the guest sees it.
struct Interface {
  std::string name;
  std::string mac;                     ///< upper case; may be empty
  std::vector<std::string> addresses;  ///< without prefix length, of both families
};
/// Needs VM.GuestAgent.Audit. Errc::unsupported where the guest's agent can't or may not tell.
awaitable<std::vector<Interface>> interfaces(Client& client, VmRef vm, CallOptions options = {});

/// Decodes what `decode=0` gives: independent Base64 texts of 1 MiB each, one after the other,
/// with padding between them (pve-facts section 9). Throws Error{protocol}.
std::string decode_pieces(std::string_view base64);

}  // namespace px::pve::agent
