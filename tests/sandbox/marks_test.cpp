#include "sandbox/marks.hpp"

#include "support/error.hpp"

#include <gtest/gtest.h>

namespace px::sandbox {
namespace {

TEST(Marks, survivesTheWayThroughADescription) {
  const Mark mark{"0a1b2c3d", "00112233445566aa", "my task", "sample 7"};
  const auto found = find_mark(describe_mark(mark));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->run, mark.run);
  EXPECT_EQ(found->object, mark.object);
  EXPECT_EQ(found->task, mark.task);
  EXPECT_EQ(found->sample, mark.sample);
}

TEST(Marks, cantBeForgedByANameWithALineBreak) {
  const Mark mark{"0a1b2c3d", "00112233445566aa", "x\ninspect-vm: 1111111111111111", "s"};
  EXPECT_EQ(find_mark(describe_mark(mark))->object, mark.object);
}

TEST(Marks, areNotSeenInOthersDescriptions) {
  EXPECT_FALSE(find_mark(""));
  EXPECT_FALSE(find_mark("my own VM\nsee inspect-run: 0a1b2c3d"));
  EXPECT_FALSE(find_mark("inspect-run: nothing"));
}

TEST(Marks, namesTheRunInTagsAndMedia) {
  const auto run = RunId::make();
  EXPECT_EQ(run_of_tags({"inspect", run.tag()}), run.text);
  EXPECT_FALSE(run_of_tags({"inspect", "inspect-run-x"}));
  EXPECT_EQ(run_of_medium(medium_name(run, "0123456789abcdef")), run.text);
  EXPECT_FALSE(run_of_medium("debian.iso"));
  EXPECT_THROW(RunId::parse("X"), Error);
}

}  // namespace
}  // namespace px::sandbox
