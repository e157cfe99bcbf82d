// What is made of the answers of a guest's cloud-init.
#include "image/cloud_init.hpp"

#include "run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>

namespace px::image {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

const std::string its_instance = "inspect-0123456789abcdef";

/// Answers one command after the other. A timeout is what the first of them ends with when it is
/// told to.
class GuestWithCloudInit : public guest::Guest {
 public:
  explicit GuestWithCloudInit(std::deque<guest::ExecResult> answers)
      : answers_{std::move(answers)} {}
  bool hangs = false;

  awaitable<guest::ExecResult> exec(guest::ExecRequest request) override {
    EXPECT_EQ(request.user, "root");
    EXPECT_TRUE(request.timeout.has_value());
    if (std::exchange(hangs, false)) throw Error{Errc::timeout, "too long"};
    if (answers_.empty()) throw Error{Errc::internal, "not asked for"};
    auto answer = std::move(answers_.front());
    answers_.pop_front();
    co_return answer;
  }
  awaitable<std::string> read_file(std::string path, std::uint64_t /*limit*/) override {
    throw Error{Errc::file_not_found, path};
  }
  awaitable<void> write_file(std::string path, std::string /*contents*/) override {
    throw Error{Errc::file_permission, path};
  }

 private:
  std::deque<guest::ExecResult> answers_;
};

Error end_with(GuestWithCloudInit guest) {
  try {
    px::testing::run(
        wait_for_cloud_init(guest, its_instance, "vms[0]: VM 7", Deadline::after(90s)));
  } catch (const Error& error) {
    return error;
  }
  return Error{Errc::internal, "no error"};
}

TEST(WaitForCloudInit, returnsWhenTheSeedWasReadAndDone) {
  EXPECT_EQ(end_with(GuestWithCloudInit{{{0, its_instance + "\n", ""}}}).said, "no error");
}

TEST(WaitForCloudInit, goesOnAfterWhatTheGuestGotOver) {
  EXPECT_EQ(end_with(GuestWithCloudInit{{{2, its_instance + "\n", ""},
                                         {2, "status: done\nrecoverable_errors:\n", ""}}})
                .said,
            "no error");
}

TEST(WaitForCloudInit, showsStatusAndLogWhenItFailed) {
  const auto error = end_with(GuestWithCloudInit{
      {{1, its_instance + "\n", ""},
       {1, "status: error\ndetail:\n('scripts_user', RuntimeError('1 failures'))\n", ""},
       {0, "Cloud-init v. 25.1 running\n  \x1b[1mcp: no such file\x1b[0m\n\n", ""}}});
  EXPECT_EQ(error.kind, Errc::task_failed);
  EXPECT_EQ(error.said,
            "vms[0]: VM 7: cloud-init failed: status: error, detail:, ('scripts_user', "
            "RuntimeError('1 failures'))\n"
            "  its log: Cloud-init v. 25.1 running\n"
            "  its log:   ?[1mcp: no such file?[0m");
}

TEST(WaitForCloudInit, showsStatusAndLogWhenItTakesTooLong) {
  GuestWithCloudInit guest{{{0, "status: running\n", ""}, {0, "Reading package lists\n", ""}}};
  guest.hangs = true;
  const auto error = end_with(std::move(guest));
  EXPECT_EQ(error.kind, Errc::timeout);
  EXPECT_THAT(error.said, HasSubstr("cloud-init did not end within"));
  EXPECT_THAT(error.said, HasSubstr("status: running\n  its log: Reading package lists"));
}

TEST(WaitForCloudInit, saysWhenThereIsNone) {
  const auto error = end_with(GuestWithCloudInit{{{127, "", ""}}});
  EXPECT_EQ(error.kind, Errc::unsupported);
  EXPECT_EQ(error.said, "vms[0]: VM 7: the guest has no cloud-init");
}

TEST(WaitForCloudInit, seesThatAnotherSeedWasRead) {
  const auto error = end_with(
      GuestWithCloudInit{{{0, "iid-local01\n", ""}, {0, "status: done\ndetail: None\n", ""}}});
  EXPECT_EQ(error.kind, Errc::unsupported);
  EXPECT_THAT(error.said, HasSubstr("did not read it (its instance is \"iid-local01\"; "
                                    "status: done, detail: None)"));
}

TEST(WaitForCloudInit, showsTheFirstFailureWhenTheGuestCantSayMore) {
  const auto error = end_with(GuestWithCloudInit{{{1, "", ""}}});
  EXPECT_EQ(error.kind, Errc::task_failed);
  EXPECT_THAT(error.said, HasSubstr("cloud-init failed: not asked for"));
}

}  // namespace
}  // namespace px::image
