#include "sandbox/marks.hpp"

#include "support/error.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <unistd.h>

namespace px::sandbox {
namespace {

using namespace std::chrono_literals;

TEST(Marks, survivesTheWayThroughADescription) {
  const Mark mark{.run = "0a1b2c3d",
                  .object = "00112233445566aa",
                  .task = "my task",
                  .sample = "sample 7",
                  .owner = "alice@desk, process 4711",
                  .since = std::chrono::sys_seconds{1'764'115'695s}};
  const auto found = find_mark(describe_mark(mark));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->run, mark.run);
  EXPECT_EQ(found->object, mark.object);
  EXPECT_EQ(found->task, mark.task);
  EXPECT_EQ(found->sample, mark.sample);
  EXPECT_EQ(found->owner, mark.owner);
  EXPECT_EQ(found->since, mark.since);
}

TEST(Marks, sayThisProcessAndTheTimeByThemselves) {
  const Mark mark{.run = "0a1b2c3d", .object = "00112233445566aa", .task = "t", .sample = "s"};
  EXPECT_TRUE(mark.owner.ends_with(fmt::format(", process {}", ::getpid()))) << mark.owner;
  EXPECT_LT(Mark::now() - *mark.since, 60s);
}

TEST(Marks, ofOlderVersionsHaveNoTime) {
  const auto found = find_mark("inspect-run: 0a1b2c3d\ninspect-vm: 00112233445566aa\n");
  ASSERT_TRUE(found);
  EXPECT_FALSE(found->since);
  EXPECT_EQ(found->owner, "");
}

TEST(Marks, cantBeForgedByANameWithALineBreak) {
  const Mark mark{.run = "0a1b2c3d",
                  .object = "00112233445566aa",
                  .task = "x\ninspect-vm: 1111111111111111",
                  .sample = "s"};
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
