#pragma once
#include "guest/guest.hpp"

#include <string>
#include <string_view>

/// The shell text that runs as the user inside a launch (guest/linux/scripts.hpp): it starts with
/// its own text on fd 0, the command's standard input on fd 8, and says on fd 7 what a status
/// code could not tell apart from the command's own.
namespace px::guest::linux_guest {

/// One word for a POSIX shell, whatever bytes it holds (but NUL).
std::string quote(std::string_view word);

/// Octal escapes for printf %b: one line of printable ASCII.
std::string escape(std::string_view text);

/// Changes directory, sets the environment, finds the program, and becomes it.
/// Throws Error{bad_input}: NUL in a word, no words, an environment name that a shell can't hold.
std::string command_program(const Command& command);

/// Prints the file's bytes (compressed by gzip where `kind` says z). A file longer than `limit`
/// is refused before anything is read.
std::string read_program(std::string_view path, std::uint64_t limit);

/// Makes the parents (for root's eyes only, if so wanted), then writes standard input to the file.
std::string write_program(std::string_view path, bool private_parents = false);

}  // namespace px::guest::linux_guest
