#include "image/download.hpp"

#include "image/recipe.hpp"
#include "support/log.hpp"
#include "support/process.hpp"

#include <boost/algorithm/string/trim.hpp>
#include <fmt/format.h>

#include <fcntl.h>
#include <fstream>
#include <sys/file.h>
#include <unistd.h>

namespace px::image {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr auto lock_pause = 500ms;
constexpr auto look_pause = 100ms;
constexpr auto tell_pause = 5s;
constexpr std::uint64_t bytes_of_mb = 1'000'000;

/// Held by one process at a time; the system gives it back when that dies.
class FileLock {
 public:
  explicit FileLock(const fs::path& path)
      : file_{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)} {
    if (file_ < 0) {
      throw Error{Errc::rejected, fmt::format("{}: {}", path.string(), std::strerror(errno))}
          .with_hint("XDG_CACHE_HOME names another place.");
    }
  }
  ~FileLock() { ::close(file_); }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  bool try_lock() const { return ::flock(file_, LOCK_EX | LOCK_NB) == 0; }

 private:
  int file_;
};

std::uint64_t size_of(const fs::path& file) {
  std::error_code ignored;
  const auto size = fs::file_size(file, ignored);
  return ignored ? 0 : size;
}

std::string last_line(const fs::path& file) {
  std::ifstream in{file};
  std::string last;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) last = line;
  }
  return boost::algorithm::trim_copy(last);
}

awaitable<void> watch_wget(Process& process, std::string_view name, const fs::path& part) {
  for (auto told = std::chrono::steady_clock::now(); process.alive();) {
    co_await sleep_for(look_pause);
    if (std::chrono::steady_clock::now() - told < tell_pause) continue;
    told = std::chrono::steady_clock::now();
    log::info("{}: {} MB downloaded", name, size_of(part) / bytes_of_mb);
  }
}

awaitable<void> end_wget(Process& process) {
  for (process.kill(); process.alive();) co_await sleep_for(2ms);
}

constexpr int server_error = 8;  // wget(1), EXIT STATUS

awaitable<void> fetch_part(const BuiltIn& built_in, const fs::path& part,
                           const fs::path& messages) {
  std::optional<Process> process;
  try {
    process = Process::spawn({"wget", "--no-verbose", "--continue", "--tries=3", "--timeout=60",
                              "--output-document", part.string(), "--", std::string{built_in.url}},
                             part.parent_path(), messages);
  } catch (const Error& error) {
    throw Error{Errc::unsupported, error.said}.with_hint("Install wget.");
  }
  co_await with_cleanup(watch_wget(*process, built_in.name, part), end_wget(*process));
  const auto code = process->exit_code();
  if (code == 0) co_return;
  // A part that can't be continued would fail for ever.
  if (code == server_error) fs::remove(part);
  throw Error{Errc::unreachable, fmt::format("{}: {}", built_in.url, last_line(messages))};
}

/// The unfinished file becomes the file when its sum is right.
void check_part(const BuiltIn& built_in, const fs::path& part, const fs::path& target) {
  const auto sum = file_hash(part, built_in.kind);
  if (sum != built_in.sum) {
    fs::remove(part);
    throw_bad_input(
        "built_in", built_in.name,
        fmt::format("what came from {} has the sum {}, not {}", built_in.url, sum, built_in.sum));
  }
  fs::rename(part, target);
}

}  // namespace

awaitable<fs::path> download(asio::thread_pool& pool, const BuiltIn& built_in) {
  const auto folder = cache_directory() / "images";
  const auto target = folder / built_in.file;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw Error{Errc::rejected, fmt::format("{}: {}", folder.string(), error.message())}.with_hint(
        "XDG_CACHE_HOME names another place.");
  }
  const FileLock lock{fs::path{target}.concat(".lock")};
  while (!lock.try_lock()) co_await sleep_for(lock_pause);
  if (fs::is_regular_file(target, error)) co_return target;
  log::info("{}: downloading {}", built_in.name, built_in.url);
  const auto part = fs::path{target}.concat(".part");
  co_await fetch_part(built_in, part, fs::path{target}.concat(".log"));
  co_await run_in_pool(pool, [&] { check_part(built_in, part, target); });
  log::info("{}: {} MB are in {}", built_in.name, size_of(target) / bytes_of_mb, target.string());
  co_return target;
}

}  // namespace px::image
