#pragma once
#include "support/process.hpp"

#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace px::node {

/// The network namespace of a node's VMs, and a process that holds it.
///
/// The holder is the first process of a process namespace of its own, and ends as soon as the node
/// does, however that ends: it waits at a pipe from it. With it end all programs that were started
/// in that process namespace. The network namespace itself lives on while a QEMU is in it, and is
/// gone with all its interfaces when the last one ends; nothing of it is ever in the host's.
class Namespace {
 public:
  /// Makes one; without root inside a user namespace of its own. Throws Error{unsupported} where
  /// that is not allowed.
  static Namespace make();
  /// Goes on with the one that the process `member` is in.
  static Namespace join(pid_t member);
  /// Whether a process is in another network namespace than we are.
  static bool is_elsewhere(pid_t process);

  Namespace(Namespace&& other) noexcept;
  Namespace& operator=(Namespace&&) = delete;
  /// Ends the holder, and so the programs of its process namespace.
  ~Namespace();

  /// For programs that may outlive the node: QEMU.
  Inside for_machines() const noexcept { return {user_, net_, -1}; }
  /// For tools, and for daemons that end with the node.
  Inside for_helpers() const noexcept { return {user_, net_, pid_}; }
  /// Whether we needed no user namespace.
  bool is_root() const noexcept { return user_ < 0; }
  /// The holder, in the node's own process namespace.
  pid_t holder() const noexcept { return holder_; }
  /// A command line that runs `argv` as a member of the process namespace, so that what it leaves
  /// in the background belongs to the holder: an orphan goes to the first process of its parent's
  /// namespace (kernel: find_new_reaper), and another one might never reap it.
  static std::vector<std::string> as_member(std::vector<std::string> argv);
  /// Ends a program by its number in the holder's process namespace, and waits for its end.
  void kill(pid_t inner) const;

 private:
  Namespace() = default;
  static Namespace hold(const Inside& existing);

  int user_ = -1;
  int net_ = -1;
  int pid_ = -1;
  int lifeline_ = -1;   ///< the holder ends when this closes
  pid_t launcher_ = 0;  ///< our child, the holder's parent
  pid_t holder_ = 0;
};

}  // namespace px::node
