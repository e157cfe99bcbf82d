#include "bench.hpp"
#include "pve/storage.hpp"
#include "sanitized.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace px::pve {
namespace {

using namespace std::chrono_literals;
using testing::Bench;
using testing::data_reply;
using testing::error_of;
using testing::error_reply;
using testing::no_reply;
using testing::Received;
using testing::Reply;
using testing::with_server;

const std::string task = "\"UPID:pve1:000002EF:0001DD71:6B052910:imgcopy::root@pam:\"";

/// So many bytes out of nothing.
class Generator final : public BodySource {
 public:
  explicit Generator(std::uint64_t size) : size_{size} {}
  std::uint64_t size() const override { return size_; }
  void rewind() override { position_ = 0; }
  awaitable<std::size_t> read(std::span<char> room) override {
    const auto count = std::min<std::uint64_t>(room.size(), size_ - position_);
    for (std::size_t i = 0; i < count; ++i) {
      room[i] = static_cast<char>((position_ + i) * 2654435761u >> 13);
    }
    position_ += count;
    co_return count;
  }

 private:
  std::uint64_t size_;
  std::uint64_t position_ = 0;
};

storage::Upload an_upload() {
  storage::Upload upload{NodeName::parse("pve1"), StorageId::parse("local"), "iso", "a.iso"};
  return upload;
}

/// The most memory that this process ever held, in KiB.
std::int64_t peak_memory() {
  std::ifstream status{"/proc/self/status"};
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6));
  }
  return 0;
}

TEST(Upload, framesTheFieldsInTheOrderThatTheServerReads) {
  with_server(
      [](const Received&) { return data_reply(task); },
      [](Bench& bench) -> awaitable<void> {
        Client client{bench.executor, bench.pool, bench.instance()};
        auto what = an_upload();
        what.sha256 = sha256_hex("hello world");
        const auto source = memory_source({"hello", "", " ", "world"});
        const auto upid = co_await storage::upload(client, what, *source, Deadline::after(10s));
        EXPECT_EQ(upid.type(), "imgcopy");
        const auto& request = bench.server.received().front();
        EXPECT_EQ(request.path(), "/nodes/pve1/storage/local/upload");
        const auto type = request.header("content-type");
        const std::string prefix = "multipart/form-data; boundary=";
        EXPECT_TRUE(type.starts_with(prefix)) << type;
        const auto b = "--" + type.substr(prefix.size());
        EXPECT_EQ(request.body,
                  b + "\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\niso\r\n" + b +
                      "\r\nContent-Disposition: form-data; "
                      "name=\"checksum-algorithm\"\r\n\r\nsha256\r\n" +
                      b + "\r\nContent-Disposition: form-data; name=\"checksum\"\r\n\r\n" +
                      what.sha256 + "\r\n" + b +
                      "\r\nContent-Disposition: form-data; name=\"filename\"; "
                      "filename=\"a.iso\"\r\nContent-Type: "
                      "application/octet-stream\r\n\r\nhello world\r\n" +
                      b + "--\r\n");
        EXPECT_EQ(request.body_size, request.body.size());
        EXPECT_EQ(storage::volume_of(what).text(), "local:iso/a.iso");
      });
}

TEST(Upload, streamsAFileWithItsProgress) {
  const auto path =
      std::filesystem::temp_directory_path() / ("px-upload-" + std::to_string(::getpid()) + ".iso");
  const auto content = random_bytes(700'001);
  std::ofstream{path, std::ios::binary} << content;
  with_server([](const Received&) { return data_reply(task); },
              [&](Bench& bench) -> awaitable<void> {
                Client client{bench.executor, bench.pool, bench.instance()};
                auto what = an_upload();
                std::vector<std::uint64_t> steps;
                what.progress = [&](std::uint64_t sent, std::uint64_t size) {
                  EXPECT_EQ(size, content.size());
                  steps.push_back(sent);
                };
                const auto source = file_source(bench.pool, path);
                co_await storage::upload(client, what, *source, Deadline::after(10s));
                EXPECT_GE(steps.size(), 3u);
                EXPECT_TRUE(std::is_sorted(steps.begin(), steps.end()));
                EXPECT_EQ(steps.back(), content.size());
                EXPECT_GT(bench.server.received().front().body_size, content.size());
              });
  std::filesystem::remove(path);
}

TEST(Upload, takesConstantMemoryForAnySize) {
  if (px::testing::is_sanitized) GTEST_SKIP() << "a sanitizer keeps freed memory for a while";
  constexpr std::uint64_t size = 128u << 20;
  with_server([](const Received&) { return data_reply(task); },
              [&](Bench& bench) -> awaitable<void> {
                Client client{bench.executor, bench.pool, bench.instance()};
                Generator small{1u << 20};
                co_await storage::upload(client, an_upload(), small, Deadline::after(60s));
                const auto before = peak_memory();
                Generator large{size};
                co_await storage::upload(client, an_upload(), large, Deadline::after(120s));
                EXPECT_GT(bench.server.received().back().body_size, size);
                const auto growth = peak_memory() - before;
                ::testing::Test::RecordProperty("growth_kib", static_cast<int>(growth));
                EXPECT_LT(growth, 8 * 1024) << "KiB";
              });
}

TEST(Upload, usesAConnectionOfItsOwn) {
  with_server(
      [](const Received& r) { return r.method == "GET" ? data_reply("1") : data_reply(task); },
      [](Bench& bench) -> awaitable<void> {
        Client client{bench.executor, bench.pool, bench.instance()};
        co_await client.get("/version");
        const auto source = memory_source({"x"});
        co_await storage::upload(client, an_upload(), *source, Deadline::after(10s));
        co_await client.get("/version");
        EXPECT_EQ(bench.server.received()[1].connection, 2);
        EXPECT_EQ(bench.server.received()[2].connection, 1);
      });
}

TEST(Upload, hearsARefusalBeforeItHasSentEverything) {
  with_server(
      [](const Received&) {
        return error_reply(403,
                           "Permission check failed (/storage/local, Datastore.AllocateTemplate)");
      },
      [](Bench& bench) -> awaitable<void> {
        bench.server.answers_before_body = [](const Received&) { return true; };
        Client client{bench.executor, bench.pool, bench.instance()};
        Generator large{64u << 20};
        const auto error =
            co_await error_of(storage::upload(client, an_upload(), large, Deadline::after(20s)));
        EXPECT_EQ(name_of(error.kind), name_of(Errc::forbidden)) << error.what();
        EXPECT_NE(error.hint.find("Datastore.AllocateTemplate on /storage/local"),
                  std::string::npos);
      });
}

TEST(Upload, isRepeatedOnceWhenItsAnswerIsLost) {
  int count = 0;
  with_server([&](const Received&) { return ++count == 1 ? no_reply() : data_reply(task); },
              [](Bench& bench) -> awaitable<void> {
                Client client{bench.executor, bench.pool, bench.instance()};
                Generator source{300'000};
                co_await storage::upload(client, an_upload(), source, Deadline::after(10s));
                const auto& received = bench.server.received();
                EXPECT_EQ(received.size(), 2u);
                EXPECT_EQ(received[0].body_sha256, received[1].body_sha256);
              });
}

TEST(Upload, refusesNamesThatTheServerWouldChange) {
  with_server([](const Received&) { return data_reply(task); },
              [](Bench& bench) -> awaitable<void> {
                Client client{bench.executor, bench.pool, bench.instance()};
                for (const auto* name : {"", "a b.iso", "../a.iso", "ä.iso", ".iso"}) {
                  auto what = an_upload();
                  what.file_name = name;
                  const auto source = memory_source({"x"});
                  const auto error = co_await error_of(
                      storage::upload(client, what, *source, Deadline::after(10s)));
                  EXPECT_EQ(error.kind, Errc::bad_input) << name;
                }
                EXPECT_TRUE(bench.server.received().empty());
              });
}

TEST(FileSource, namesAFileThatCantBeRead) {
  asio::thread_pool pool{1};
  for (const auto* path : {"/nonexistent/a.iso", "/"}) {
    try {
      file_source(pool, path);
      ADD_FAILURE() << path;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, Errc::bad_input);
      EXPECT_NE(e.said.find(path), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace px::pve
