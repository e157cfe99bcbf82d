// What is asked of the helper, and what its answers become, where there is no Wine to run it.
#include "guest/windows/helper.hpp"
#include "guest/windows/windows_guest.hpp"
#include "run.hpp"
#include "support/bytes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>

namespace px::guest {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

/// A guest that does nothing but remember what it is told, and says what it is told to say.
class SilentChannel : public Channel {
 public:
  std::string answer = "x 0 boot 0 0 \n";
  std::vector<Launch> launches;
  std::map<std::string, std::string> files;
  std::function<void(std::size_t)> on_write = [](std::size_t) {};

  awaitable<LaunchId> launch(Launch what) override {
    launches.push_back(std::move(what));
    co_return LaunchId{0};
  }
  awaitable<std::optional<LaunchEnd>> poll(LaunchId) override {
    const bool is_install = launches.size() == 1;
    co_return LaunchEnd{0, is_install ? "g 0 boot 0 0 \n" : answer, ""};
  }
  awaitable<FilePart> read_file(std::string path, std::uint64_t, std::uint64_t) override {
    if (!files.contains(path)) throw Error{Errc::server, "nicht da"}.with_sent(Sent::answered);
    co_return FilePart{files[path], true};
  }
  awaitable<void> write_file(std::string path, std::string bytes) override {
    on_write(++writes_);
    files[path] = std::move(bytes);
    co_return;
  }
  bool has_medium() const noexcept override { return false; }
  awaitable<void> with_medium(Medium, awaitable<void>) override { co_return; }

 private:
  std::size_t writes_ = 0;
};

class WindowsGuestSays : public ::testing::Test {
 protected:
  void SetUp() override {
    if (windows_guest::helper_program().empty()) GTEST_SKIP() << "no compiler for Windows";
  }

  Error failure_of_read() {
    try {
      px::testing::run(guest.read_file("C:\\f", 1000));
    } catch (const Error& error) {
      return error;
    }
    return Error{Errc::internal, "no error"};
  }

  std::shared_ptr<SilentChannel> channel = std::make_shared<SilentChannel>();
  WindowsGuest guest{channel};
};

TEST_F(WindowsGuestSays, whatToRunInFieldsAndThenTheInput) {
  ExecRequest request;
  request.command = {{"prog", "a b", "%"}, "D:\\w", {{"A", "1"}, {"B", ""}}};
  request.input = std::string{"in\0put", 6};
  px::testing::run(guest.exec(request));
  ASSERT_EQ(channel->launches.size(), 2U);
  const auto& launch = channel->launches.back();
  EXPECT_EQ(launch.argv.at(0), windows_guest::helper_path());
  EXPECT_EQ(launch.argv.at(1), "run");
  EXPECT_EQ(launch.argv.at(5), "0") << "pieces";
  EXPECT_EQ(launch.argv.at(7), channel->launches.front().argv.at(2)) << "what it can forget";
  using namespace std::string_literals;
  EXPECT_EQ(launch.input,
            "D:\\w\0prog\0prog \"a b\" %\0!a batch file can be given no argument with a quote or a "
            "percent sign; call cmd with /c and the text that it shall read\0"
            "2\0A=1\0B=\0in\0put"s);
}

TEST_F(WindowsGuestSays, inPiecesWhatOneLaunchDoesNotHold) {
  const auto contents = random_bytes(Channel::max_input - 5);
  px::testing::run(guest.write_file("C:\\f", contents));  // with the name and its NUL 64 KiB
  EXPECT_EQ(channel->launches.back().input.size(), Channel::max_input);
  EXPECT_EQ(channel->launches.back().argv.at(5), "0");

  // A lost answer: the same piece again.
  channel->on_write = [&](std::size_t write) {
    if (write == 3) throw Error{Errc::proxy, "Broken pipe"}.with_sent(Sent::maybe);
  };
  px::testing::run(guest.write_file("C:\\f", contents + "x"));
  const auto& launch = channel->launches.back();
  EXPECT_EQ(launch.input, "");
  EXPECT_EQ(launch.argv.at(5), "2");
  const std::string stem = "C:\\Windows\\proxmox-sandbox\\in-" + launch.argv.at(2);
  const std::string name{"C:\\f\0", 5};
  EXPECT_EQ(channel->files.at(stem + ".0000") + channel->files.at(stem + ".0001"),
            name + contents + "x");
  EXPECT_EQ(channel->files.at(stem + ".0000").size(), Channel::max_content);
}

TEST_F(WindowsGuestSays, thatPiecesWithoutALaunchCanBeForgotten) {
  channel->on_write = [](std::size_t write) {
    if (write == 3) throw Error{Errc::unavailable, "the VM is gone"};
  };
  EXPECT_THROW(px::testing::run(guest.write_file("C:\\f", random_bytes(100'000))), Error);
  std::string staged;
  for (const auto& [path, bytes] : channel->files) {
    if (const auto at = path.find("in-"); at != std::string::npos) staged = path.substr(at + 3, 16);
  }
  px::testing::run(guest.write_file("C:\\f", "x"));
  EXPECT_THAT(channel->launches.back().argv, Contains(staged));
}

TEST_F(WindowsGuestSays, whichErrorAFileHas) {
  const std::map<std::string, Errc> kinds{
      {"2", Errc::file_not_found},   {"3", Errc::file_not_found},    {"123", Errc::file_not_found},
      {"206", Errc::file_not_found}, {"336", Errc::is_directory},    {"5", Errc::file_permission},
      {"32", Errc::file_permission}, {"112", Errc::file_permission},
  };
  for (const auto& [number, kind] : kinds) {
    channel->answer = "e 1 boot 0 0 " + number + "\n";
    const auto error = failure_of_read();
    EXPECT_EQ(error.kind, kind) << number;
    EXPECT_THAT(error.said, HasSubstr("C:\\f")) << number;
  }
  channel->answer = "s 1 boot 0 0 1001\n";
  EXPECT_EQ(failure_of_read().kind, Errc::output_limit);
  EXPECT_THAT(failure_of_read().said, HasSubstr("1001"));
}

TEST_F(WindowsGuestSays, nothingThatCantBeUnderstood) {
  for (const auto* answer :
       {"x 0 boot 0\n", "x 0 boot a b \n", "b 0 boot 0 0 \n", "x 0 boot -1 0 \n"}) {
    channel->answer = answer;
    EXPECT_EQ(failure_of_read().kind, Errc::protocol) << answer;
  }
}

}  // namespace
}  // namespace px::guest
