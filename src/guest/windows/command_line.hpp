#pragma once
#include <string>
#include <string_view>
#include <vector>

/// Windows gives a program one line of text, and each program cuts it into arguments by its own
/// rules. Two sets of rules matter: those of C's and most other languages' programs (Microsoft,
/// "Parsing C command-line arguments", the same as CommandLineToArgvW's), and cmd's.
namespace px::guest::windows_guest {

/// A line that a C program reads as `argv`, which has one word at least. For cmd itself the words
/// after /c or /k are its text, as it is: cmd knows no escape for a quote.
/// Throws Error{unsupported} on what no line can hold: its text says why.
std::string command_line(const std::vector<std::string>& argv);

/// The words after the first as a batch file reads them. Throws Error{unsupported} on a quote, a
/// percent sign and a line break, for which cmd has no escape that is safe (CVE-2024-24576).
std::string batch_arguments(const std::vector<std::string>& argv);

/// One argument by the rules of C programs, in quotes where it needs them.
std::string quote(std::string_view word);

}  // namespace px::guest::windows_guest
