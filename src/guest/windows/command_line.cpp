#include "guest/windows/command_line.hpp"

#include "support/error.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <boost/algorithm/string/predicate.hpp>
#include <fmt/format.h>

#include <algorithm>

namespace px::guest::windows_guest {

namespace {

/// Of CreateProcess' line, in UTF-16 units with the final zero; and of cmd's (Microsoft, "Command
/// prompt line string limitation"), which cuts a longer one without a word.
constexpr std::size_t most_characters = 32'767;
constexpr std::size_t most_of_cmd = 8'191;

[[noreturn]] void refuse(std::string why) {
  throw Error{Errc::unsupported, std::move(why)};
}

std::size_t utf16_length(std::string_view text) {
  std::size_t units = 0;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte & 0xc0) != 0x80) ++units;  // not the second to fourth byte of a character
    if (byte >= 0xf0) ++units;           // beyond the first 65536 characters: a pair
  }
  return units;
}

void refuse_longer(std::string_view line, std::size_t most, std::string_view who) {
  const auto length = utf16_length(line);
  if (length < most) return;
  refuse(fmt::format("the command line has {} characters; {} takes at most {}", length, who,
                     most - 1));
}

void refuse_lines(std::string_view text) {
  if (text.find_first_of("\r\n") != std::string_view::npos) {
    refuse("cmd takes one line, and this text has more");
  }
}

/// The program's own name is read without escapes: from quote to quote, or up to a blank.
std::string quote_program(const std::string& name) {
  if (name.find('"') != std::string::npos) refuse("a program's name can't have a quote in Windows");
  return name.find_first_of(" \t") == std::string::npos ? name : '"' + name + '"';
}

bool is_cmd(const std::string& program) {
  const auto slash = program.find_last_of("\\/");
  const auto name = boost::algorithm::to_lower_copy(
      slash == std::string::npos ? program : program.substr(slash + 1));
  return name == "cmd" || name == "cmd.exe";
}

/// What stands after /c: one word as it is, several with quotes around those that have blanks.
std::string cmd_text(const std::vector<std::string>& words) {
  if (words.size() == 1) return words.front();
  std::string out;
  for (const auto& word : words) {
    if (!out.empty()) out += ' ';
    const bool needs_quotes = word.empty() || word.find_first_of(" \t") != std::string::npos;
    if (needs_quotes && word.find('"') != std::string::npos) {
      refuse("cmd knows no escape for a quote; give it its text after /c as one argument");
    }
    out += needs_quotes ? '"' + word + '"' : word;
  }
  return out;
}

/// With /s cmd takes off the first and the last quote and nothing else (`cmd /?`).
std::string cmd_line(const std::vector<std::string>& argv, std::size_t switch_at) {
  std::string line = quote_program(argv.front());
  for (std::size_t i = 1; i < switch_at; ++i) line += ' ' + quote(argv[i]);
  const std::vector<std::string> words{argv.begin() + static_cast<std::ptrdiff_t>(switch_at) + 1,
                                       argv.end()};
  const auto text = cmd_text(words);
  refuse_lines(text);
  line += fmt::format(" /s {} \"{}\"", argv[switch_at], text);
  refuse_longer(line, most_of_cmd + 1, "cmd");
  return line;
}

}  // namespace

std::string quote(std::string_view word) {
  if (!word.empty() && word.find_first_of(" \t\n\v\"") == std::string_view::npos) {
    return std::string{word};
  }
  std::string out = "\"";
  std::size_t backslashes = 0;
  for (const char c : word) {
    if (c == '\\') {
      ++backslashes;
      continue;
    }
    // Backslashes are themselves, save before a quote: there each needs another.
    out.append(c == '"' ? 2 * backslashes + 1 : backslashes, '\\');
    backslashes = 0;
    out += c;
  }
  out.append(2 * backslashes, '\\');
  return out + '"';
}

std::string command_line(const std::vector<std::string>& argv) {
  if (is_cmd(argv.front())) {
    const auto at = std::find_if(argv.begin() + 1, argv.end(), [](const std::string& word) {
      return boost::algorithm::iequals(word, "/c") || boost::algorithm::iequals(word, "/k");
    });
    if (at != argv.end()) return cmd_line(argv, static_cast<std::size_t>(at - argv.begin()));
  }
  std::string line = quote_program(argv.front());
  for (std::size_t i = 1; i < argv.size(); ++i) line += ' ' + quote(argv[i]);
  refuse_longer(line, most_characters, "Windows");
  return line;
}

std::string batch_arguments(const std::vector<std::string>& argv) {
  std::string out;
  for (std::size_t i = 1; i < argv.size(); ++i) {
    const auto& word = argv[i];
    refuse_lines(word);
    if (word.find_first_of("\"%") != std::string::npos) {
      refuse(
          "a batch file can be given no argument with a quote or a percent sign; call cmd with "
          "/c and the text that it shall read");
    }
    const auto is_plain = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             std::string_view{"-_.:/\\+@#"}.find(c) != std::string_view::npos;
    };
    if (i > 1) out += ' ';
    // Without need there are no quotes: a batch file's %1 shows them.
    const bool plain = !word.empty() && std::ranges::all_of(word, is_plain);
    out += plain ? word : '"' + word + '"';
  }
  return out;
}

}  // namespace px::guest::windows_guest
