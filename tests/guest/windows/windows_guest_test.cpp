// Commands and files in a Windows guest, with Wine as the guest: the helper that a real one would
// run is the one that runs here. What Wine is not, no test here has seen: docs/windows.md.
#include "guest/windows/windows_guest.hpp"

#include "guest/windows/helper.hpp"
#include "run.hpp"
#include "support/bytes.hpp"
#include "wine_channel.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>
#include <utility>

namespace px::guest {
namespace {

using namespace std::chrono_literals;
using px::testing::run;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::WineChannel;

class WindowsGuestUnderWine : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef PX_WINDOWS_PROBE
    if (WineChannel::wine().empty()) GTEST_SKIP() << "no wine64";
    channel = std::make_shared<WineChannel>();
    std::filesystem::copy_file(PX_WINDOWS_PROBE, channel->directory() / "probe.exe");
    probe = channel->in_guest("probe.exe");
    guest = std::make_unique<WindowsGuest>(channel);
#else
    GTEST_SKIP() << "no compiler for Windows";
#endif
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

  /// A batch file that says its arguments.
  std::string batch() {
    const auto path = channel->in_guest("say it.bat");
    run(guest->write_file(path, "@echo [%1][%2]\r\n@exit /b 5\r\n"));
    return path;
  }

  std::shared_ptr<WineChannel> channel;
  std::string probe;
  std::unique_ptr<WindowsGuest> guest;
};

TEST_F(WindowsGuestUnderWine, tellsStreamsAndStatusApart) {
  for (const int status : {0, 7, 124, 126, 127, 259, -1}) {
    const auto result = exec({probe, "both", std::to_string(status)});
    EXPECT_EQ(result.out, "out\n");
    EXPECT_EQ(result.err, "err\n");
    EXPECT_EQ(result.status, status);
  }
  EXPECT_EQ(static_cast<std::uint32_t>(exec({probe, "crash"}).status), 0xC0000005U);
}

TEST_F(WindowsGuestUnderWine, givesArgumentsExactly) {
  const std::vector<std::string> words{"ü✓ 日本 😀",    R"(a"b)", R"(a\"b\\)", "", "two\nlines",
                                       R"(C:\my dir\)", "%PATH%", "a&b|c^d",   "*"};
  std::vector<std::string> argv{probe, "args"};
  argv.insert(argv.end(), words.begin(), words.end());
  std::string wanted;
  for (const auto& word : words) wanted += "[" + word + "]";
  EXPECT_EQ(exec(argv).out, wanted + "\n" + wanted);
}

TEST_F(WindowsGuestUnderWine, givesCmdItsTextAndBatchFilesTheirArguments) {
  EXPECT_EQ(exec({"cmd", "/c", "echo one& echo two& exit 3"}).out, "one\r\ntwo\r\n");
  EXPECT_EQ(exec({"cmd", "/c", "exit 3"}).status, 3);
  const auto said = exec({batch(), "a&b", "c d"});
  EXPECT_EQ(said.out, "[\"a&b\"][\"c d\"]\r\n");
  EXPECT_EQ(said.status, 5);
  const auto refused = exec({batch(), "\"&echo gone"});
  EXPECT_EQ(refused.status, 126);
  EXPECT_THAT(refused.err, HasSubstr("quote"));
  EXPECT_EQ(refused.out, "");
}

TEST_F(WindowsGuestUnderWine, givesStandardInputExactly) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  all += "\r\n\n\x1a more";
  EXPECT_EQ(exec({probe, "cat"}, all).out, all);
  EXPECT_EQ(exec({probe, "cat"}, "").out, "");
  EXPECT_EQ(exec({probe, "cat"}).out, "");
  EXPECT_EQ(exec({probe, "both", "0"}, random_bytes(60'000)).status, 0);
}

TEST_F(WindowsGuestUnderWine, stagesWhatDoesNotFitIntoOneLaunch) {
  const auto input = random_bytes(300'000);
  EXPECT_EQ(exec({probe, "cat"}, input).out, input);
  // One for the helper, the others of 60 KiB.
  EXPECT_EQ(channel->writes, 1 + 5);
  const std::string word(30'000, 'w');
  EXPECT_EQ(exec({probe, "args", word}).out, "[" + word + "]\n[" + word + "]");
  const auto refused = exec({probe, "args", std::string(40'000, 'w')});
  EXPECT_EQ(refused.status, 126);
  EXPECT_THAT(refused.err, HasSubstr("32766"));
}

TEST_F(WindowsGuestUnderWine, setsDirectoryAndEnvironment) {
  EXPECT_EQ(exec({probe, "cwd"}).out, "C:\\");
  ExecRequest request;
  request.command = {{probe, "cwd"}, "windows", {}};
  EXPECT_EQ(run(guest->exec(request)).out, "C:\\windows");
  request.command = {{probe, "env", "Px(x86)"}, "", {{"Px(x86)", "x 'ü' = %PATH%\ny"}}};
  EXPECT_EQ(run(guest->exec(request)).out, "x 'ü' = %PATH%\ny");
  request.command.env = {{"A=B", "x"}};
  EXPECT_EQ(failure([&] { run(guest->exec(request)); }).kind, Errc::bad_input);
  request.command = {{probe, "cwd"}, "C:\\no\\such", {}};
  const auto result = run(guest->exec(request));
  EXPECT_EQ(result.status, 126);
  EXPECT_THAT(result.err, HasSubstr("C:\\no\\such"));
}

TEST_F(WindowsGuestUnderWine, findsProgramsInThePathThatIsAskedFor) {
  ExecRequest request;
  request.command = {{"probe", "both", "4"}, "", {{"PATH", channel->in_guest("")}}};
  EXPECT_EQ(run(guest->exec(request)).status, 4);
  request.command.argv.front() = "PROBE.EXE";
  EXPECT_EQ(run(guest->exec(request)).status, 4);
  // As Linux does, and unlike CreateProcess: nothing from the working directory.
  request.command = {{"probe", "both", "4"}, channel->in_guest(""), {}};
  EXPECT_EQ(run(guest->exec(request)).status, 127);
  request.command.argv.front() = ".\\probe";
  EXPECT_EQ(run(guest->exec(request)).status, 4);
}

TEST_F(WindowsGuestUnderWine, tellsMissingAndNotExecutableProgramsApart) {
  const auto missing = exec({"no-such-program"});
  EXPECT_EQ(missing.status, 127);
  EXPECT_THAT(missing.err, HasSubstr("no-such-program"));
  EXPECT_EQ(exec({"C:\\no\\such.exe"}).status, 127);
  run(guest->write_file(channel->in_guest("text.txt"), "no program"));
  EXPECT_EQ(failure([&] { exec({channel->in_guest("text.txt")}); }).kind, Errc::file_permission);
  EXPECT_EQ(failure([&] { exec({"C:\\windows"}); }).kind, Errc::file_permission);
}

TEST_F(WindowsGuestUnderWine, runsAsTheAgentsUserAndNoOther) {
  ExecRequest request;
  request.command.argv = {probe, "both", "0"};
  request.user = "system";
  EXPECT_EQ(run(guest->exec(request)).status, 0);
  request.user = "root";
  const auto error = failure([&] { run(guest->exec(request)); });
  EXPECT_EQ(error.kind, Errc::guest_user);
  EXPECT_THAT(error.said, HasSubstr("root"));
}

TEST_F(WindowsGuestUnderWine, refusesWhatNoArgumentHolds) {
  EXPECT_THAT(failure([&] { exec({probe, std::string{"a\0b", 3}}); }).said,
              HasSubstr("embedded null byte"));
  EXPECT_EQ(failure([&] { exec({}); }).kind, Errc::bad_input);
  const auto result = exec({probe, "args", "\xff"});
  EXPECT_EQ(result.status, 126);
  EXPECT_THAT(result.err, HasSubstr("UTF-8"));
}

TEST_F(WindowsGuestUnderWine, leavesABackgroundChildAliveThatHoldsStdout) {
  const auto started = std::chrono::steady_clock::now();
  const auto result = exec({probe, "behind", "late", "4000", channel->in_guest("alive")});
  EXPECT_LT(std::chrono::steady_clock::now() - started, 3900ms);
  EXPECT_EQ(result.out, "now\n");
  const auto mark = channel->directory() / "alive";
  for (int i = 0; i < 100 && !std::filesystem::exists(mark); ++i)
    std::this_thread::sleep_for(100ms);
  EXPECT_TRUE(std::filesystem::exists(mark));
  // The agent can't open a file that somebody may write into, so the child has one of its own.
  const auto said = [&](const std::string& name) {
    for (const auto& entry :
         std::filesystem::directory_iterator{channel->directory() / "proxmox-sandbox"}) {
      std::ifstream file{entry.path() / name, std::ios::binary};
      if (file) return std::string{std::istreambuf_iterator<char>{file}, {}};
    }
    return std::string{"none"};
  };
  for (int i = 0; i < 50 && said("o-live") != "now\nlate\n"; ++i)
    std::this_thread::sleep_for(100ms);
  EXPECT_EQ(said("o-live"), "now\nlate\n");
  EXPECT_EQ(said("o"), "now\n");
}

TEST_F(WindowsGuestUnderWine, endsTheWholeTreeAtATimeoutAndKeepsThePartialOutput) {
  exec({probe, "both", "0"});  // so that the limit is not spent on what is done once
  ExecRequest request;
  request.command.argv = {probe, "tree", "4000", channel->in_guest("mark")};
  request.timeout = 1500ms;
  const auto error = failure([&] { run(guest->exec(request)); });
  EXPECT_EQ(error.kind, Errc::timeout);
  EXPECT_EQ(error.partial_output, "part\noops\n");
  EXPECT_EQ(exec({probe, "both", "0"}).out, "out\n");
  std::this_thread::sleep_for(4s);
  EXPECT_FALSE(std::filesystem::exists(channel->directory() / "mark"));
}

TEST_F(WindowsGuestUnderWine, endsTheCommandWhenTheCallIsCancelled) {
  exec({probe, "both", "0"});
  ExecRequest request;
  request.command.argv = {probe, "tree", "3000", channel->in_guest("mark")};
  auto cancelled = [](WindowsGuest& g, ExecRequest r) -> awaitable<void> {
    auto quiet = [](WindowsGuest& inner, ExecRequest what) -> awaitable<void> {
      co_await inner.exec(std::move(what));
    };
    co_await with_deadline(quiet(g, std::move(r)), Deadline::after(800ms), "exec");
  };
  EXPECT_THROW(run(cancelled(*guest, request)), Error);
  std::this_thread::sleep_for(3500ms);
  EXPECT_FALSE(std::filesystem::exists(channel->directory() / "mark"));
}

TEST_F(WindowsGuestUnderWine, runsNothingThatWasEndedBeforeItsLaunchArrived) {
  exec({probe, "both", "0"});
  const auto launch = [&](const std::string& op, const std::string& bytes) {
    auto call = [](WineChannel& c, Launch what) -> awaitable<std::string> {
      const auto id = co_await c.launch(std::move(what));
      for (;;) {
        if (auto end = co_await c.poll(id)) co_return end->out;
        co_await sleep_for(50ms);
      }
    };
    return run(
        call(*channel, {{windows_guest::helper_path(), op, "feed", "100", "0", "0", "-"}, bytes}));
  };
  EXPECT_THAT(launch("kill", ""), ::testing::StartsWith("g 0 "));
  const auto file = channel->in_guest("late");
  EXPECT_THAT(launch("write", file + std::string{"\0x", 2}), ::testing::StartsWith("g 0 "));
  EXPECT_FALSE(std::filesystem::exists(channel->directory() / "late"));
}

TEST_F(WindowsGuestUnderWine, keepsTheTailOfTooMuchOutput) {
  ExecRequest request;
  request.command.argv = {probe, "fill", "3000000"};
  for (const std::uint64_t limit : {1000U, 70'000U, 1'000'000U, 5'000'000U}) {
    request.output_limit = limit;
    const auto result = run(guest->exec(request));
    EXPECT_EQ(result.out.size(), std::min<std::uint64_t>(limit, 3'000'003)) << limit;
    EXPECT_THAT(result.out, EndsWith("xxend"));
  }
}

TEST_F(WindowsGuestUnderWine, runsOnceThoughTheAnswerToTheLaunchIsLost) {
  exec({probe, "both", "0"});
  const int before = channel->launches;
  channel->fault = [&](std::string_view call, int number) {
    if (call == "launched" && number == before + 1) {
      throw Error{Errc::proxy, "Connection timed out"}.with_sent(Sent::maybe);
    }
  };
  const auto log = channel->in_guest("log");
  EXPECT_EQ(exec({"cmd", "/c", "echo ran>>" + log + "& echo done"}).out, "done\r\n");
  EXPECT_EQ(channel->launches, before + 2);
  EXPECT_EQ(run(guest->read_file(log, 100)), "ran\r\n");
}

TEST_F(WindowsGuestUnderWine, losesNoOutputWithAnAnswer) {
  exec({probe, "both", "0"});
  channel->fault = [lost = false](std::string_view call, int) mutable {
    if (call == "polled" && !std::exchange(lost, true)) throw Error{Errc::proxy, "Broken pipe"};
  };
  const auto result = exec({probe, "both", "3"});
  EXPECT_EQ(result.out, "out\n");
  EXPECT_EQ(result.err, "err\n");
  EXPECT_EQ(result.status, 3);
}

TEST_F(WindowsGuestUnderWine, writesAndReadsFilesExactly) {
  const auto path = channel->in_guest("new dir\\a 'b' %20 ü✓");
  for (const std::size_t size : {0UL, 1UL, 61'440UL, 61'441UL, 400'000UL}) {
    const auto contents = random_bytes(size);
    run(guest->write_file(path, contents));
    EXPECT_EQ(run(guest->read_file(path, 100 << 20)), contents) << size;
  }
  run(guest->write_file(path, "short\n"));
  EXPECT_EQ(run(guest->read_file(path, 100)), "short\n");
  const auto forward = channel->directory().filename().string() + "/sub/f";
  run(guest->write_file(forward, "x"));
  EXPECT_EQ(run(guest->read_file(channel->in_guest("sub\\f"), 100)), "x");
}

TEST_F(WindowsGuestUnderWine, writesPathsThatAreLongerThanTheOldLimit) {
  std::string path = channel->in_guest("deep");
  for (int i = 0; i < 8; ++i) path += "\\" + std::string(60, static_cast<char>('a' + i));
  run(guest->write_file(path, "x"));
  EXPECT_EQ(run(guest->read_file(path, 100)), "x");
}

TEST_F(WindowsGuestUnderWine, namesFileErrorsByKind) {
  const auto kind_of_read = [&](const std::string& path) {
    return failure([&] { run(guest->read_file(path, 1000)); }).kind;
  };
  const auto kind_of_write = [&](const std::string& path) {
    return failure([&] { run(guest->write_file(path, "x")); }).kind;
  };
  const auto file = channel->in_guest("file");
  EXPECT_EQ(kind_of_read(channel->in_guest("none")), Errc::file_not_found);
  EXPECT_EQ(kind_of_read(channel->in_guest("none\\none")), Errc::file_not_found);
  EXPECT_EQ(kind_of_read("https:/en.wikipedia.org/wiki/Bart%C5%82"), Errc::file_not_found);
  EXPECT_EQ(kind_of_read("C:\\windows"), Errc::is_directory);
  EXPECT_EQ(kind_of_write("C:\\windows"), Errc::is_directory);
  run(guest->write_file(file, std::string(1001, 'x')));
  EXPECT_EQ(kind_of_read(file), Errc::output_limit);
  EXPECT_EQ(kind_of_write(file + "\\x"), Errc::file_not_found);
  const auto held = channel->in_guest("held");
  exec({probe, "behind", "hold", "6000", held});
  while (!std::filesystem::exists(channel->directory() / "held")) std::this_thread::sleep_for(10ms);
  EXPECT_EQ(kind_of_write(held), Errc::file_permission);
  EXPECT_EQ(kind_of_read(held), Errc::file_permission);
}

TEST_F(WindowsGuestUnderWine, leavesNoRecordsBehindButTheLast) {
  for (int i = 0; i < 4; ++i) exec({probe, "cat"}, random_bytes(70'000));
  int records = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator{channel->directory() / "proxmox-sandbox"}) {
    ++records;
  }
  EXPECT_EQ(records, 1);
}

TEST_F(WindowsGuestUnderWine, writesItsHelperOnceAndAgainWhereItIsSpoilt) {
  exec({probe, "both", "0"});
  EXPECT_EQ(channel->writes, 1);
  guest = std::make_unique<WindowsGuest>(channel);
  exec({probe, "both", "0"});
  EXPECT_EQ(channel->writes, 1) << "it is there already";
  const auto name = windows_guest::helper_path().substr(windows_guest::helper_directory.size() + 1);
  std::ofstream{channel->directory() / name, std::ios::binary} << "half";
  guest = std::make_unique<WindowsGuest>(channel);
  EXPECT_EQ(exec({probe, "both", "0"}).out, "out\n");
}

TEST_F(WindowsGuestUnderWine, saysThatTheGuestRestartedMeanwhile) {
  auto call = [](WineChannel& c) -> awaitable<std::string> {
    const auto id = co_await c.launch(
        {{windows_guest::helper_path(), "run", "beef", "100", "0", "0", "another-boot"}, ""});
    for (;;) {
      if (auto end = co_await c.poll(id)) co_return end->out;
      co_await sleep_for(50ms);
    }
  };
  exec({probe, "both", "0"});
  EXPECT_THAT(run(call(*channel)), ::testing::StartsWith("l 0 "));
}

TEST(WindowsHelper, goesIntoTheGuestInOneRequest) {
  EXPECT_LE(windows_guest::helper_program().size(), Channel::max_content);
}

}  // namespace
}  // namespace px::guest
