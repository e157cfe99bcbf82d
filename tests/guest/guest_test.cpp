// Commands and files in a guest, with a shell of this machine as the guest.
#include "guest/linux/linux_guest.hpp"
#include "guest/linux/program.hpp"
#include "run.hpp"
#include "shell_channel.hpp"
#include "support/bytes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <sys/mount.h>
#include <thread>
#include <utility>

namespace px::guest {
namespace {

using namespace std::chrono_literals;
using px::testing::run;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ShellChannel;

std::string random_text(std::size_t size) {
  return random_bytes(size);
}

/// Each test runs under every shell that a guest's /bin/sh may be.
class GuestUnder : public ::testing::TestWithParam<std::vector<std::string>> {
 protected:
  void SetUp() override {
    if (::access(GetParam().front().c_str(), X_OK) != 0)
      GTEST_SKIP() << "no " << GetParam().front();
    const char* user = ::getenv("USER");
    if (::geteuid() != 0)
      GTEST_SKIP() << "the scripts act as root in a guest; run as root, not "
                   << (user == nullptr ? "?" : user);
    channel = std::make_shared<ShellChannel>(GetParam());
    guest = std::make_unique<LinuxGuest>(channel, pool);
  }

  ExecResult exec(std::vector<std::string> argv, std::optional<std::string> input = {}) {
    ExecRequest request;
    request.command.argv = std::move(argv);
    request.input = std::move(input);
    return run(guest->exec(std::move(request)));
  }

  template <class F>
  Error failure(F call) {
    try {
      call();
    } catch (const Error& error) {
      return error;
    }
    ADD_FAILURE() << "no error";
    return Error{Errc::internal, ""};
  }

  asio::thread_pool pool{1};
  std::shared_ptr<ShellChannel> channel;
  std::unique_ptr<Guest> guest;
};

INSTANTIATE_TEST_SUITE_P(Shell, GuestUnder,
                         ::testing::Values(std::vector<std::string>{"/bin/dash"},
                                           std::vector<std::string>{"/bin/bash"},
                                           std::vector<std::string>{"/bin/busybox", "sh"}),
                         [](const auto& info) { return info.param.front().substr(5); });

TEST_P(GuestUnder, tellsStreamsAndStatusApart) {
  const auto result = exec({"sh", "-c", "echo out; echo err >&2; exit 7"});
  EXPECT_EQ(result.out, "out\n");
  EXPECT_EQ(result.err, "err\n");
  EXPECT_EQ(result.status, 7);
}

TEST_P(GuestUnder, keepsWhatWasSaidBeforeAProgramOpensItsStderrAgain) {
  const auto result = exec({"sh", "-c", "echo one >&2; echo two >/dev/stderr; echo three >&2"});
  EXPECT_EQ(result.err, "one\ntwo\nthree\n");
}

TEST_P(GuestUnder, givesArgumentsExactly) {
  const std::vector<std::string> words{"ü✓ 日本",    "a'b", "$x `id` \\n", "",
                                       "two\nlines", "-n",  "\x01\xff"};
  std::vector<std::string> argv{"printf", "[%s]"};
  argv.insert(argv.end(), words.begin(), words.end());
  std::string wanted;
  for (const auto& word : words) wanted += "[" + word + "]";
  EXPECT_EQ(exec(argv).out, wanted);
}

TEST_P(GuestUnder, givesStandardInputExactly) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(exec({"cat"}, all).out, all);
  EXPECT_EQ(exec({"cat"}, "").out, "");
  EXPECT_EQ(exec({"cat"}).out, "");
  EXPECT_EQ(exec({"true"}, random_text(60000)).status, 0);
}

TEST_P(GuestUnder, stagesInputAndArgumentsThatDoNotFitIntoOneLaunch) {
  const auto input = random_text(300'000);
  EXPECT_EQ(exec({"sha256sum"}, input).out, sha256_hex(input) + "  -\n");
  std::vector<std::string> argv{"printf", "%s"};
  for (int i = 0; i < 16; ++i) argv.emplace_back(64 * 1024, static_cast<char>('a' + i));
  std::string wanted;
  for (int i = 0; i < 16; ++i) wanted += argv[static_cast<std::size_t>(i) + 2];
  EXPECT_EQ(exec(argv).out, wanted);
}

TEST_P(GuestUnder, setsDirectoryAndEnvironment) {
  ExecRequest request;
  request.command = {{"sh", "-c", "pwd; printf '%s' \"$A\""}, "/usr/bin", {{"A", "x 'ü'\ny"}}};
  EXPECT_EQ(run(guest->exec(request)).out, "/usr/bin\nx 'ü'\ny");
  request.command.cwd = "/no/such";
  const auto result = run(guest->exec(request));
  EXPECT_EQ(result.status, 126);
  EXPECT_THAT(result.err, HasSubstr("/no/such"));
}

TEST_P(GuestUnder, runsAsAnotherUserWithItsGroupsAndHome) {
  ExecRequest request;
  request.command.argv = {"sh", "-c", "id -un; id -gn; echo $USER; cat; echo x >/dev/stderr"};
  request.input = "in";
  request.user = "nobody";
  const auto result = run(guest->exec(request));
  EXPECT_EQ(result.out, "nobody\nnogroup\nnobody\nin");
  EXPECT_EQ(result.err, "x\n");
  request.user = "65534";
  EXPECT_EQ(run(guest->exec(request)).out, "nobody\nnogroup\nnobody\nin");
}

TEST_P(GuestUnder, namesAnUnknownUserInAFailedResult) {
  ExecRequest request;
  request.command.argv = {"whoami"};
  for (const auto* user : {"nonexistent", "näme", "a b"}) {
    request.user = user;
    const auto result = run(guest->exec(request));
    EXPECT_NE(result.status, 0);
    EXPECT_THAT(result.err, HasSubstr(user));
  }
}

TEST_P(GuestUnder, tellsMissingAndNotExecutableProgramsApart) {
  const auto missing = exec({"no-such-program"});
  EXPECT_EQ(missing.status, 127);
  EXPECT_THAT(missing.err, HasSubstr("no-such-program"));
  EXPECT_EQ(exec({"/no/such/program"}).status, 127);
  EXPECT_EQ(failure([&] { exec({"/etc/passwd"}); }).kind, Errc::file_permission);
  EXPECT_EQ(failure([&] { exec({"/etc"}); }).kind, Errc::file_permission);
  EXPECT_EQ(exec({"sh", "-c", "exit 126"}).status, 126);
  EXPECT_EQ(exec({"sh", "-c", "exit 124"}).status, 124);
}

TEST_P(GuestUnder, reportsDeathBySignal) {
  EXPECT_EQ(exec({"sh", "-c", "kill -TERM $$"}).status, 143);
  EXPECT_EQ(exec({"sh", "-c", "kill -KILL $$"}).status, 137);
  EXPECT_EQ(exec({"sh", "-c", "kill -TERM $$"}).err, "");
}

TEST_P(GuestUnder, leavesABackgroundChildAliveThatHoldsStdout) {
  const auto mark = channel->directory() / "alive";
  const auto started = std::chrono::steady_clock::now();
  const auto result =
      exec({"sh", "-c", "(sleep 3; echo late; echo y >" + mark.string() + ") & echo now"});
  EXPECT_LT(std::chrono::steady_clock::now() - started, 2900ms);
  EXPECT_EQ(result.out, "now\n");
  for (int i = 0; i < 80 && !std::filesystem::exists(mark); ++i) std::this_thread::sleep_for(100ms);
  EXPECT_TRUE(std::filesystem::exists(mark)) << "the child died, by SIGPIPE perhaps";
}

TEST_P(GuestUnder, keepsTheOutputThatItsReadersTakeLate) {
  // The command stops the reader of its stderr, as a loaded guest may leave it without a CPU.
  const auto result = exec({"sh", "-c",
                            R"(
for fd in /proc/[0-9]*/fd/0; do
  case $(readlink $fd) in )" + channel->records().string() +
                                R"(/*/p2)
    reader=${fd#/proc/}; reader=${reader%/fd/0}; kill -STOP $reader
    (sleep 1; kill -CONT $reader) >/dev/null 2>&1 & echo stopped;;
  esac
done
echo late >&2)"});
  EXPECT_EQ(result.out, "stopped\n");
  EXPECT_EQ(result.err, "late\n");
}

TEST_P(GuestUnder, endsTheWholeTreeAtATimeoutAndKeepsThePartialOutput) {
  // Of this test alone: others run beside it.
  const std::string seconds = std::to_string(4'000'000 + ::getpid());
  ExecRequest request;
  request.command.argv = {
      "sh", "-c",
      "trap '' TERM; echo part; echo oops >&2; sh -c 'sleep " + seconds + " | cat' & wait"};
  request.timeout = 500ms;
  const auto error = failure([&] { run(guest->exec(request)); });
  EXPECT_EQ(error.kind, Errc::timeout);
  EXPECT_EQ(error.partial_output, "part\noops\n");
  EXPECT_EQ(exec({"sh", "-c", "ps ax | grep -c '[s]leep " + seconds + "'"}).out, "0\n");
  EXPECT_EQ(exec({"echo", "usable"}).out, "usable\n");
}

TEST_P(GuestUnder, keepsThePartialOutputWhateverTheAgentsEnvironmentHolds) {
  ::setenv("B", "no-such-program", 1);  // a name that the scripts use themselves
  ExecRequest request;
  request.command.argv = {"sh", "-c", "echo part; sleep 30"};
  request.timeout = 300ms;
  const auto error = failure([&] { run(guest->exec(request)); });
  ::unsetenv("B");
  EXPECT_EQ(error.partial_output, "part\n");
}

TEST_P(GuestUnder, endsTheCommandWhenTheCallIsCancelled) {
  const auto mark = channel->directory() / "mark";
  ExecRequest request;
  request.command.argv = {"sh", "-c", "sleep 1; touch " + mark.string()};
  EXPECT_THROW(run([](Guest& g, ExecRequest r) -> awaitable<void> {
                 auto quiet = [](Guest& inner, ExecRequest what) -> awaitable<void> {
                   co_await inner.exec(std::move(what));
                 };
                 co_await with_deadline(quiet(g, std::move(r)), Deadline::after(200ms), "exec");
               }(*guest, request)),
               Error);
  std::this_thread::sleep_for(1500ms);
  EXPECT_FALSE(std::filesystem::exists(mark));
}

TEST_P(GuestUnder, endsTheCommandWhenTheCallIsCancelledAsItsTimeIsOver) {
  const auto mark = channel->directory() / "mark";
  ExecRequest request;
  request.command.argv = {"sh", "-c", "sleep 1; touch " + mark.string()};
  request.timeout = 200ms;
  auto quiet = [](Guest& inner, ExecRequest what) -> awaitable<void> {
    co_await inner.exec(std::move(what));
  };
  // While the thread is busy both become due.
  channel->fault = [until = std::chrono::steady_clock::now() + 250ms](std::string_view call, int) {
    if (call == "poll") std::this_thread::sleep_until(until);
  };
  EXPECT_THROW(run(with_deadline(quiet(*guest, request), Deadline::after(200ms), "exec")), Error);
  std::this_thread::sleep_for(1500ms);
  EXPECT_FALSE(std::filesystem::exists(mark));
}

TEST_P(GuestUnder, keepsTheTailOfTooMuchOutput) {
  ExecRequest request;
  request.command.argv = {"sh", "-c", "head -c 3000000 /dev/zero; printf end"};
  request.output_limit = 1'000'000;
  const auto result = run(guest->exec(request));
  ASSERT_EQ(result.out.size(), 1'000'000U);
  EXPECT_TRUE(result.out.ends_with("end"));
}

TEST_P(GuestUnder, runsOnceThoughTheAnswerToTheLaunchIsLost) {
  channel->fault = [](std::string_view call, int number) {
    if (call == "launched" && number == 1) {
      throw Error{Errc::proxy, "Connection timed out"}.with_sent(Sent::maybe);
    }
  };
  const auto log = channel->directory() / "log";
  EXPECT_EQ(exec({"sh", "-c", "sleep 0.3; echo ran >>" + log.string() + "; echo done"}).out,
            "done\n");
  std::ifstream lines{log};
  EXPECT_EQ(std::distance(std::istreambuf_iterator<char>{lines}, {}), 4);
}

TEST_P(GuestUnder, losesNoOutputWithAnAnswer) {
  channel->fault = [lost = false](std::string_view call, int) mutable {
    if (call == "polled" && !std::exchange(lost, true)) throw Error{Errc::proxy, "Broken pipe"};
  };
  EXPECT_EQ(exec({"sh", "-c", "echo out; exit 3"}).out, "out\n");
  EXPECT_EQ(channel->launches, 2);
}

TEST_P(GuestUnder, saysThatItsMemoryFileSystemIsFull) {
  // In place of the guest's /run: 64 KiB.
  const auto records = channel->records().string();
  std::filesystem::create_directories(records);
  if (::mount("tmpfs", records.c_str(), "tmpfs", 0, "size=64k") != 0) {
    GTEST_SKIP() << "no right to mount a file system";
  }
  const std::unique_ptr<const char, int (*)(const char*)> mounted{
      records.c_str(), [](const char* path) { return ::umount2(path, MNT_DETACH); }};
  EXPECT_EQ(exec({"echo", "fits"}).out, "fits\n");
  const auto of_output = failure([&] { exec({"sh", "-c", "head -c 200000 /dev/zero; exit 3"}); });
  EXPECT_EQ(of_output.kind, Errc::unavailable);
  EXPECT_THAT(of_output.what(), HasSubstr("/run is full"));
  EXPECT_EQ(exec({"echo", "again"}).out, "again\n") << "what it took was given back";
  std::ofstream{records + "/hog"} << std::string(80'000, 'x');
  guest = std::make_unique<LinuxGuest>(channel, pool);  // one that has no records to give back
  const auto mark = channel->directory() / "mark";
  const auto of_anything = failure([&] { exec({"touch", mark.string()}); });
  EXPECT_EQ(of_anything.kind, Errc::unavailable);
  EXPECT_THAT(of_anything.what(), HasSubstr("/run is full"));
  EXPECT_FALSE(std::filesystem::exists(mark));
}

TEST_P(GuestUnder, writesAndReadsFilesExactly) {
  const auto path = (channel->directory() / "new dir" / "a 'b' %20 ü").string();
  for (const std::size_t size : {0UL, 1UL, 1000UL, 61'440UL, 61'441UL, 400'000UL, 3'000'000UL}) {
    if (size > 400'000 && GetParam().front() != "/bin/dash") continue;  // the same code, slower
    const auto contents = random_text(size);
    run(guest->write_file(path, contents));
    EXPECT_EQ(run(guest->read_file(path, 100 << 20)), contents) << size;
  }
  const std::string text(500'000, 'x');
  run(guest->write_file(path, text));
  const int before = channel->reads;
  EXPECT_EQ(run(guest->read_file(path, 100 << 20)), text);
  EXPECT_EQ(channel->reads, before) << "what compresses well travels inside the answer";
}

TEST_P(GuestUnder, sendsALargeFileAsAMedium) {
  channel->medium = true;
  const auto path = (channel->directory() / "large").string();
  const auto contents = random_text(1'000'001);
  run(guest->write_file(path, contents));
  EXPECT_EQ(channel->media, 1);
  EXPECT_EQ(channel->launches, 1) << "one command takes it from the drive";
  EXPECT_EQ(run(guest->read_file(path, 100 << 20)), contents);
}

TEST_P(GuestUnder, sendsAFileInPiecesWhenTheMediumIsNotWhatItShouldBe) {
  channel->medium = true;
  channel->spoil = [](std::string& bytes) { bytes[5000] ^= 1; };
  const auto path = (channel->directory() / "large").string();
  const auto contents = random_text(150'000);
  run(guest->write_file(path, contents));
  EXPECT_EQ(run(guest->read_file(path, 100 << 20)), contents);
}

TEST_P(GuestUnder, namesFileErrorsByKind) {
  const auto directory = channel->directory().string();
  const auto kind_of_read = [&](const std::string& path) {
    return failure([&] { run(guest->read_file(path, 1000)); }).kind;
  };
  const auto kind_of_write = [&](const std::string& path) {
    return failure([&] { run(guest->write_file(path, "x")); }).kind;
  };
  EXPECT_EQ(kind_of_read(directory + "/none"), Errc::file_not_found);
  EXPECT_EQ(kind_of_read("https:/en.wikipedia.org/wiki/Bart%C5%82"), Errc::file_not_found);
  EXPECT_EQ(kind_of_read("/etc"), Errc::is_directory);
  EXPECT_EQ(kind_of_write("/etc"), Errc::is_directory);
  EXPECT_EQ(kind_of_write("/etc/passwd/x"), Errc::file_not_found);
  run(guest->write_file(directory + "/big", std::string(1001, 'x')));
  EXPECT_EQ(kind_of_read(directory + "/big"), Errc::output_limit);
  std::filesystem::permissions(directory, std::filesystem::perms{0755});
  guest = std::make_unique<LinuxGuest>(channel, pool, "nobody");
  EXPECT_EQ(kind_of_write(directory + "/new"), Errc::file_permission);
  EXPECT_EQ(kind_of_write(directory + "/new/sub"), Errc::file_permission);
  std::filesystem::permissions(directory + "/big", std::filesystem::perms{0600});
  EXPECT_EQ(kind_of_read(directory + "/big"), Errc::file_permission);
}

TEST_P(GuestUnder, leavesNoRecordsBehindButTheLast) {
  for (int i = 0; i < 5; ++i) exec({"true"});
  std::this_thread::sleep_for(200ms);
  int records = 0;
  for (const auto& entry : std::filesystem::directory_iterator{channel->records()}) {
    EXPECT_EQ((entry.status().permissions() & std::filesystem::perms{077}),
              std::filesystem::perms::none);
    ++records;
  }
  EXPECT_LE(records, 2);
}

TEST_P(GuestUnder, keepsSecretsOfTheEnvironmentOutOfArgumentListsAndReadableFiles) {
  ExecRequest request;
  request.command = {
      {"sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 'hunter[2]'"},
      "",
      {{"TOKEN", "hunter2"}}};
  request.user = "nobody";
  EXPECT_EQ(run(guest->exec(request)).out, "0\n");
}

TEST(Program, refusesWhatAShellCantHold) {
  using linux_guest::command_program;
  EXPECT_THROW(command_program({{}, "", {}}), Error);
  EXPECT_THROW(command_program({{std::string{"a\0b", 3}}, "", {}}), Error);
  EXPECT_THROW(command_program({{"true"}, "", {{"A-B", "x"}}}), Error);
}

}  // namespace
}  // namespace px::guest
