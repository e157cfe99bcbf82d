#pragma once
#include <string>
#include <string_view>

/// The program that serves us inside a Windows guest; guest/windows/helper/helper.h says what it is
/// called with and what it answers.
namespace px::guest::windows_guest {

/// Where it lies and its records. Only SYSTEM and administrators may write there, whose the agent
/// and the helper are: nobody else can put a program of theirs into its place.
inline constexpr std::string_view helper_directory = "C:\\Windows";
inline constexpr std::string_view record_directory = "C:\\Windows\\proxmox-sandbox";

/// The program's bytes; empty in a build that had no compiler for Windows.
std::string_view helper_program();

/// Its path in the guest. The name tells versions apart.
const std::string& helper_path();

}  // namespace px::guest::windows_guest
