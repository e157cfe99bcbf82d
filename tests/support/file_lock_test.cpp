#include "support/file_lock.hpp"

#include "support/error.hpp"
#include "temporary_directory.hpp"

#include <gtest/gtest.h>

#include <fstream>

namespace px {
namespace {

TEST(FileLock, isOfOneAtATimeAndKeepsItsLineForTheNext) {
  const testing::TemporaryDirectory directory;
  const auto path = directory.path() / "not" / "there" / "lock";
  {
    FileLock first{path};
    EXPECT_TRUE(first.try_take());
    EXPECT_TRUE(first.try_take()) << "who has it has it";
    EXPECT_EQ(first.line(), "");
    first.write_line("a long line of the first");
    first.write_line("short");
    FileLock second{path};
    EXPECT_FALSE(second.try_take());
    EXPECT_EQ(second.line(), "short") << "everyone may read it";
  }
  FileLock third{path};
  EXPECT_TRUE(third.try_take());
  EXPECT_EQ(third.line(), "short");
}

TEST(FileLock, thatCannotBeMadeNamesItsPath) {
  const testing::TemporaryDirectory directory;
  const auto file = directory.path() / "file";
  std::ofstream{file} << "no directory";
  try {
    const FileLock lock{file / "lock"};
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Errc::rejected);
    EXPECT_NE(error.said.find(file.string()), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace px
