#include "guest/console_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace px::guest {
namespace {

using namespace std::string_literals;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::SizeIs;

struct Row {
  std::string name;
  std::string printed;
  std::vector<std::string> lines;
};

class ConsoleText : public ::testing::TestWithParam<Row> {};

TEST_P(ConsoleText, isCleanedForAPerson) {
  EXPECT_EQ(last_lines(GetParam().printed), GetParam().lines);
}

INSTANTIATE_TEST_SUITE_P(
    Row, ConsoleText,
    ::testing::Values(
        Row{"nothing", "", {}}, Row{"linesOfASerialPort", "one\r\ntwo\r\n", {"one", "two"}},
        Row{"aLineWithoutItsEnd", "one\r\nlogin: ", {"one", "login:"}},
        Row{"doubledReturns", "one\r\r\ntwo\r\r\n", {"one", "two"}},
        Row{"emptyLinesAreLeftOut", "\r\n\r\none\r\n   \r\n\r\ntwo", {"one", "two"}},
        Row{"colours", "[\x1B[0;32m  OK  \x1B[0m] Started x\r\n", {"[  OK  ] Started x"}},
        Row{"aClearedScreen", "\x1B[2J\x1B[1;1Hhello\r\n", {"hello"}},
        Row{"aTitle", "\x1B]0;evil title\x07hello\r\n", {"hello"}},
        Row{"aTitleEndedByAString", "\x1B]0;evil\x1B\\hello\r\n", {"hello"}},
        Row{"aTitleWithoutEnd", "\x1B]0;evil\r\nhello\r\n", {"hello"}},
        Row{"aCharset", "\x1B(Bhello", {"hello"}},
        Row{"aProgressThatIsOverwritten", "job 1s\rjob 2s\r\x1B[Kjob 3s", {"job 3s"}},
        Row{"aLineThatIsDone", "job 1s\rjob 2s\r\ndone", {"job 2s", "done"}},
        Row{"aBackspace", "abx\bc", {"abc"}}, Row{"aTab", "a\tb", {"a b"}},
        Row{"zeros", "a\0b\0c"s, {"abc"}},
        Row{"otherCharacters", "caf\xC3\xA9 \xE2\x97\x8F \xF0\x9F\x92\xA9.", {"caf? ? ?."}},
        Row{"oneByteControls",
            "a\x9B"
            "31mb",
            {"a31mb"}},
        Row{"theLastTen",
            "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n",
            {"3", "4", "5", "6", "7", "8", "9", "10", "11", "12"}}),
    [](const auto& info) { return info.param.name; });

TEST(ConsoleText, isBounded) {
  EXPECT_THAT(last_lines(std::string(100'000, 'x')), ElementsAre(std::string(200, 'x')));
  std::string long_lines;
  for (int i = 0; i < 20; ++i) long_lines += std::string(300, 'y') + "\n";
  EXPECT_THAT(last_lines(long_lines), ::testing::AllOf(SizeIs(10), Each(SizeIs(200))));
}

}  // namespace
}  // namespace px::guest
