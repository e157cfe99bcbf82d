#include "node/vm/tpm.hpp"

#include "support/error.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <unistd.h>

namespace px::node {

SocketPair::SocketPair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw Error{Errc::internal, std::strerror(errno)};
  }
  left_ = ends[0];
  right_ = ends[1];
}

SocketPair::~SocketPair() {
  ::close(left_);
  ::close(right_);
}

Process start_tpm(const Properties& tpm_state, const std::filesystem::path& state, int socket,
                  const std::filesystem::path& directory, const std::filesystem::path& log) {
  std::vector<std::string> argv{
      "swtpm",      "socket",
      "--tpmstate", fmt::format("backend-uri=file://{},mode=0600", state.string()),
      "--ctrl",     fmt::format("type=unixio,clientfd={}", passed_descriptor),
      "--terminate"};
  // PVE's default is the older version (api-schema.json).
  if (tpm_state.get("version", "v1.2") == "v2.0") argv.emplace_back("--tpm2");
  try {
    return Process::spawn(argv, directory, log, {}, socket);
  } catch (const Error& error) {
    throw Error{Errc::unsupported, fmt::format("a VM with tpmstate0 needs swtpm: {}", error.said)}
        .with_hint("Install it (Debian, Ubuntu: swtpm).");
  }
}

}  // namespace px::node
