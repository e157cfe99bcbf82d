// Who makes a template: what a process sees under its number, and what it does then.
#include "image/claim.hpp"

#include <gtest/gtest.h>

namespace px::image {
namespace {

using namespace std::chrono_literals;
using Next = ClaimMachine::Next;

const SteadyTime start{};

ClaimSeen seen(std::string beat) {
  ClaimSeen out;
  out.is_there = out.is_ours = true;
  out.beat = std::move(beat);
  return out;
}

TEST(ClaimMachine, makesWhatNobodyHas) {
  EXPECT_EQ(ClaimMachine{}.saw({}, start), Next::create);
}

TEST(ClaimMachine, usesWhatIsATemplate) {
  auto ready = seen("");
  ready.is_template = true;
  EXPECT_EQ(ClaimMachine{}.saw(ready, start), Next::use);
}

TEST(ClaimMachine, leavesAStrangersVmAlone) {
  ClaimSeen stranger;
  stranger.is_there = stranger.is_template = true;
  EXPECT_EQ(ClaimMachine{}.saw(stranger, start), Next::pass_on);
}

TEST(ClaimMachine, waitsAsLongAsTheMakerShowsThatItLives) {
  ClaimMachine machine;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(machine.saw(seen("a " + std::to_string(i)), start + i * 60s), Next::wait);
  }
}

TEST(ClaimMachine, takesOverWhenTheMakerWasSilentForTwoMinutes) {
  ClaimMachine machine;
  EXPECT_EQ(machine.saw(seen("a 1"), start), Next::wait);
  EXPECT_EQ(machine.saw(seen("a 1"), start + 119s), Next::wait);
  EXPECT_EQ(machine.saw(seen("a 1"), start + 120s), Next::take_over);
}

TEST(ClaimMachine, takesOverAtOnceWhenTheMakerIsKnownToBeDead) {
  auto dead = seen("a 1");
  dead.maker_is_dead = true;
  EXPECT_EQ(ClaimMachine{}.saw(dead, start), Next::take_over);
}

TEST(ClaimMachine, waitsOnWhileATaskWorksOnIt) {
  ClaimMachine machine;
  machine.saw(seen("a 1"), start);
  EXPECT_EQ(machine.saw(seen("a 1"), start + 120s), Next::take_over);
  machine.saw_work(start + 120s);
  EXPECT_EQ(machine.saw(seen("a 1"), start + 239s), Next::wait);
  EXPECT_EQ(machine.saw(seen("a 1"), start + 240s), Next::take_over);
}

TEST(ClaimMachine, waitsForWhatIsHalfMade) {
  ClaimMachine machine;
  ClaimSeen half;
  half.is_there = half.is_half_made = true;
  EXPECT_EQ(machine.saw(half, start), Next::wait);
  EXPECT_EQ(machine.saw(half, start + 120s), Next::take_over);
}

TEST(ClaimMachine, triesTheNextNumberWhenOneIsTakenAndNothingIsSeenOfIt) {
  ClaimMachine machine;
  EXPECT_EQ(machine.saw({}, start), Next::create);
  machine.was_refused(start);
  EXPECT_EQ(machine.saw({}, start + 9s), Next::create);
  machine.was_refused(start + 9s);
  EXPECT_EQ(machine.saw({}, start + 10s), Next::pass_on);
}

TEST(ClaimMachine, staysWithANumberThatWasTakenByOneOfUs) {
  ClaimMachine machine;
  machine.was_refused(start);
  EXPECT_EQ(machine.saw(seen("a 1"), start + 1s), Next::wait);
  EXPECT_EQ(machine.saw({}, start + 11s), Next::create) << "its maker gave it up";
}

TEST(Claim, hasANumberThatFollowsFromContentAndNode) {
  const auto node = pve::NodeName::parse("pve1");
  const auto number = claimed_number(node, "inspect-src-0123456789abcdef");
  EXPECT_GE(number.number(), 100'000'000U) << "the server proposes smaller ones";
  EXPECT_EQ(number, claimed_number(node, "inspect-src-0123456789abcdef"));
  EXPECT_NE(number, claimed_number(node, "inspect-src-0123456789abcdee"));
  EXPECT_NE(number, claimed_number(pve::NodeName::parse("pve2"), "inspect-src-0123456789abcdef"));
}

}  // namespace
}  // namespace px::image
