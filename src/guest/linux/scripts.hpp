#pragma once
#include <string>
#include <string_view>

/// The two shell scripts that every command in a Linux guest goes through.
///
/// Each command has a directory DIR/ID, root-only and in memory. Who makes it runs the command;
/// a repeated launch of the same ID finds it, waits for the result and prints the same.
namespace px::guest::linux_guest {

/// Where the directories of running commands are, in the guest.
inline constexpr std::string_view record_directory = "/run/.proxmox-sandbox";

/// Launches a command, or finds the result of an earlier launch of the same ID.
/// Called as: /bin/sh -c SCRIPT sh DIR ID CAP LIMIT STDIN USER HOME_USER BOOT_ID [ID to forget]...
///   CAP        most bytes of each stream that the answer holds
///   LIMIT      bytes of each stream to keep (the last ones)
///   STDIN      none | rest (of standard input) | dir:PATH (staged files) |
///   medium:NONCE:BYTES:SHA256 USER       name or uid; HOME_USER: whose home is the working
///   directory BOOT_ID    `-`, or the guest's boot id as known: another one means that the guest
///   restarted
const std::string& run_script();

/// Standard input: the program in octal escapes (printf %b) on the first line, then the rest.
/// Prints one line "KIND STATUS BOOT_ID DETAIL" (see RunKind in guest/linux/launch.hpp), then the
/// head of the command's stdout; the head of its stderr on stderr.

/// Ends a command with all its children, and prints its record with a leading K when it was still
/// running. Called as: /bin/sh -c SCRIPT sh DIR ID CAP
const std::string& kill_script();

/// Readies output that was too long for an answer. Called as: /bin/sh -c SCRIPT sh DIR ID CAP
/// LIMIT. Prints a line for stdout and one for stderr: "BYTES FROM PACKED": its length, where the
/// last LIMIT bytes begin, and 1 when these lie compressed in o.z or e.z.
const std::string& pack_script();

}  // namespace px::guest::linux_guest
