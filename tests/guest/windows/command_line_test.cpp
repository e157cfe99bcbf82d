// Command lines, read back by the rules that Microsoft documents.
#include "guest/windows/command_line.hpp"

#include "support/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace px::guest::windows_guest {
namespace {

using ::testing::HasSubstr;
using Words = std::vector<std::string>;

/// Microsoft, "Parsing C command-line arguments": the program's name runs to a blank or from quote
/// to quote; 2n backslashes before a quote are n, and the quote begins or ends a part; 2n+1 are n
/// and a quote; two quotes inside a part are one.
Words read_as_c_does(const std::string& line) {
  Words out;
  std::size_t at = 0;
  const auto is_blank = [&] { return line[at] == ' ' || line[at] == '\t'; };
  if (line.starts_with('"')) {
    const auto end = line.find('"', 1);
    out.push_back(line.substr(1, end - 1));
    at = end + 1;
  } else {
    at = std::min(line.find_first_of(" \t"), line.size());
    out.push_back(line.substr(0, at));
  }
  while (true) {
    while (at < line.size() && is_blank()) ++at;
    if (at == line.size()) return out;
    std::string word;
    bool quoted = false;
    while (at < line.size() && (quoted || !is_blank())) {
      std::size_t slashes = 0;
      while (at < line.size() && line[at] == '\\') ++at, ++slashes;
      if (at == line.size() || line[at] != '"') {
        word.append(slashes, '\\');
        if (slashes == 0) word += line[at++];
        continue;
      }
      word.append(slashes / 2, '\\');
      if (slashes % 2 == 1) {
        word += '"';
      } else if (quoted && at + 1 < line.size() && line[at + 1] == '"') {
        word += '"';
        ++at;
      } else {
        quoted = !quoted;
      }
      ++at;
    }
    out.push_back(word);
  }
}

std::string refusal(const Words& argv) {
  try {
    command_line(argv);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Errc::unsupported);
    return error.said;
  }
  return "";
}

TEST(WindowsCommandLine, quotesWhatNeedsItAndNothingElse) {
  EXPECT_EQ(quote("plain"), "plain");
  EXPECT_EQ(quote(""), R"("")");
  EXPECT_EQ(quote("a b"), R"("a b")");
  EXPECT_EQ(quote(R"(C:\dir\)"), R"(C:\dir\)");
  EXPECT_EQ(quote(R"(C:\my dir\)"), R"("C:\my dir\\")");
  EXPECT_EQ(quote(R"(say "hi")"), R"("say \"hi\"")");
  EXPECT_EQ(quote(R"(\")"), R"("\\\"")");
  EXPECT_EQ(quote("two\nlines"), "\"two\nlines\"");
  EXPECT_EQ(command_line({R"(C:\Program Files\x.exe)", "1"}), R"("C:\Program Files\x.exe" 1)");
}

TEST(WindowsCommandLine, readsBackAsMicrosoftsOwnExamples) {
  // The table of that page: line, and its arguments.
  EXPECT_EQ(read_as_c_does(R"(x "abc" d e)"), (Words{"x", "abc", "d", "e"}));
  EXPECT_EQ(read_as_c_does(R"(x a\\b d"e f"g h)"), (Words{"x", R"(a\\b)", "de fg", "h"}));
  EXPECT_EQ(read_as_c_does(R"(x a\\\"b c d)"), (Words{"x", R"(a\"b)", "c", "d"}));
  EXPECT_EQ(read_as_c_does(R"(x a\\\\"b c" d e)"), (Words{"x", R"(a\\b c)", "d", "e"}));
  EXPECT_EQ(read_as_c_does(R"(x a"b"" c d)"), (Words{"x", R"(ab" c d)"}));
}

TEST(WindowsCommandLine, readsBackWhateverTheArgumentsAre) {
  std::mt19937 random{20261125};
  const std::vector<std::string> letters{"a", " ", "\"", "\\", "\t", "\n", "ü", "%", "'", "^"};
  for (int round = 0; round < 20'000; ++round) {
    Words argv{round % 2 == 0 ? "x.exe" : R"(C:\a dir\x.exe)"};
    for (auto words = random() % 4; words > 0; --words) {
      std::string word;
      for (auto length = random() % 8; length > 0; --length)
        word += letters[random() % letters.size()];
      argv.push_back(word);
    }
    const auto line = command_line(argv);
    ASSERT_EQ(read_as_c_does(line), argv) << line;
  }
}

TEST(WindowsCommandLine, givesCmdItsTextAsItIs) {
  EXPECT_EQ(command_line({"cmd", "/c", "echo hi & dir"}), R"(cmd /s /c "echo hi & dir")");
  EXPECT_EQ(command_line({R"(C:\Windows\System32\CMD.EXE)", "/q", "/C", R"(type "C:\a b.txt")"}),
            R"(C:\Windows\System32\CMD.EXE /q /s /C "type "C:\a b.txt"")");
  EXPECT_EQ(command_line({"cmd", "/c", R"(C:\Program Files\x.exe)", "a b", "c"}),
            R"(cmd /s /c ""C:\Program Files\x.exe" "a b" c")");
  EXPECT_EQ(command_line({"cmd", "/?"}), "cmd /?");
}

TEST(WindowsCommandLine, refusesWhatNoLineCanHold) {
  EXPECT_THAT(refusal({"cmd", "/c", "echo 1\necho 2"}), HasSubstr("one line"));
  EXPECT_THAT(refusal({"cmd", "/c", "echo", "a \"b"}), HasSubstr("one argument"));
  EXPECT_THAT(refusal({"a\"b"}), HasSubstr("quote"));
  // 32,766 characters and the final zero; one beyond U+FFFF counts twice.
  EXPECT_EQ(refusal({"x", std::string(32'764, 'a')}), "");
  EXPECT_THAT(refusal({"x", std::string(32'765, 'a')}), HasSubstr("32767 characters"));
  EXPECT_EQ(refusal({"x", "\xf0\x9f\x98\x80" + std::string(32'762, 'a')}), "");
  EXPECT_NE(refusal({"x", "\xf0\x9f\x98\x80" + std::string(32'763, 'a')}), "");
  EXPECT_THAT(refusal({"cmd", "/c", std::string(8'191, 'a')}), HasSubstr("cmd takes at most 8191"));
}

TEST(WindowsBatchArguments, areQuotedOrRefused) {
  EXPECT_EQ(batch_arguments({"x.bat"}), "");
  EXPECT_EQ(batch_arguments({"x.bat", "plain", "a b", "", "a&calc", "x=1", "!v!"}),
            R"(plain "a b" "" "a&calc" "x=1" "!v!")");
  for (const auto* word : {"\"&calc", "%PATH%", "a\nb", "a\rb"}) {
    EXPECT_THROW(batch_arguments({"x.bat", word}), Error) << word;
  }
}

}  // namespace
}  // namespace px::guest::windows_guest
