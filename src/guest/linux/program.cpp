#include "guest/linux/program.hpp"

#include "support/error.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::guest::linux_guest {

namespace {

bool is_identifier(std::string_view name) {
  const auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  return !name.empty() && letter(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

/// A path that no utility takes for an option.
std::string quote_path(std::string_view path) {
  refuse_nul("path", path);
  return quote(!path.empty() && path.front() == '-' ? "./" + std::string{path} : std::string{path});
}

// The shell's own message about a file goes to fd 7, in English, for the host to tell apart.
constexpr std::string_view file_prelude = "umask 022; LC_ALL=C; export LC_ALL\n";

}  // namespace

std::string quote(std::string_view word) {
  std::string out = "'";
  for (const char c : word) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

std::string escape(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (const char c : text) {
    if (c >= 0x20 && c <= 0x7e && c != '\\') {
      out += c;
    } else {
      // \0ooo, for printf's %b: at most three digits after the 0.
      const auto byte = static_cast<unsigned char>(c);
      out += {'\\', '0', static_cast<char>('0' + (byte >> 6)),
              static_cast<char>('0' + (byte >> 3 & 7)), static_cast<char>('0' + (byte & 7))};
    }
  }
  return out;
}

std::string command_program(const Command& command) {
  check_argv(command.argv);
  std::string out = "umask 022\n";
  if (!command.cwd.empty()) {
    const auto directory = quote_path(command.cwd);
    out += fmt::format("CDPATH= cd {} || {{ echo d >&7; exit 126; }}\n", directory);
  }
  for (const auto& [name, value] : command.env) {
    if (!is_identifier(name)) {
      throw_bad_input("env", name, "a name has letters, digits and _ and starts with no digit");
    }
    refuse_nul("env." + name, value);
    out += fmt::format("export {}={}\n", name, quote(value));
  }
  const auto program = quote(command.argv.front());
  if (command.argv.front().find('/') == std::string::npos) {
    out += fmt::format("command -v {} >/dev/null 2>&1 || {{ echo n >&7; exit 127; }}\n", program);
  } else {
    out += fmt::format(
        "if [ ! -e {0} ]; then echo n >&7; exit 127\n"
        "elif [ -d {0} ] || [ ! -x {0} ]; then echo p >&7; exit 126; fi\n",
        program);
  }
  out += "exec";
  for (const auto& word : command.argv) {
    out += ' ';
    out += quote(word);
  }
  out += " <&8 8<&- 7>&-\n";
  return out;
}

std::string read_program(std::string_view path, std::uint64_t limit) {
  // What shrinks to 3/4 in its first quarter MiB travels compressed: a transfer of 1 MiB costs
  // about a second on a real server, compressing it some hundredths.
  return fmt::format(
      "{0}f={1}\n"
      "[ -d \"$f\" ] && {{ echo 'e Is a directory' >&7; exit 1; }}\n"
      "t=$({{ true <\"$f\"; }} 2>&1) || {{ echo \"e $t\" >&7; exit 1; }}\n"
      "n=$(wc -c <\"$f\")\n"
      "[ \"$n\" -le {2} ] || {{ echo \"s $n\" >&7; exit 1; }}\n"
      "if [ \"$n\" -gt 61440 ]; then\n"
      " c=262144; [ \"$n\" -lt $c ] && c=$n\n"
      " t=$(head -c $c \"$f\" | gzip -1 | wc -c)\n"
      " [ $((t*4)) -lt $((c*3)) ] && {{ echo z >&7; exec gzip -1 -c <\"$f\" 7>&-; }}\n"
      "fi\n"
      "exec cat <\"$f\" 7>&-\n",
      file_prelude, quote_path(path), limit);
}

std::string write_program(std::string_view path, bool private_parents) {
  const auto slash = path.rfind('/');
  std::string out{file_prelude};
  out += fmt::format("f={}\n", quote_path(path));
  if (slash != std::string_view::npos && slash > 0) {
    const auto parent = quote_path(path.substr(0, slash));
    out +=
        fmt::format("[ -d {0} ] || t=$({1}mkdir -p {0} 2>&1) || {{ echo \"e $t\" >&7; exit 1; }}\n",
                    parent, private_parents ? "umask 077; " : "");
  }
  out +=
      "[ -d \"$f\" ] && { echo 'e Is a directory' >&7; exit 1; }\n"
      "t=$({ true >>\"$f\"; } 2>&1) || { echo \"e $t\" >&7; exit 1; }\n"
      "t=$(cat <&8 2>&1 >\"$f\") || { echo \"e $t\" >&7; exit 1; }\n";
  return out;
}

}  // namespace px::guest::linux_guest
