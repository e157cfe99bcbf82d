#include "image/download.hpp"

#include "image/built_in.hpp"
#include "image/web_transfer.hpp"
#include "support/bytes.hpp"
#include "support/error.hpp"
#include "support/file_lock.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace px::image {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr int most_attempts = 4;

/// One process at a time fetches a file.
FileLock wait_for(FileLock lock, const std::atomic<bool>& stop) {
  while (!lock.try_take()) {
    if (stop) throw Error{Errc::cancelled, "the download was not waited for"};
    std::this_thread::sleep_for(100ms);
  }
  return lock;
}

/// One download, with what it leaves in the cache.
class DownloadJob {
 public:
  DownloadJob(const Download& what, const std::atomic<bool>& stop)
      : what_{what}, stop_{stop}, folder_{folder_for(what)} {
    std::error_code error;
    fs::create_directories(folder_, error);
    if (error) {
      throw Error{Errc::rejected, fmt::format("{}: {}; XDG_CACHE_HOME names another place",
                                              folder_.string(), error.message())};
    }
    file_ = folder_ / file_name_of(what.url);
    part_ = folder_ / "part";
  }

  Downloaded run() {
    const auto lock = wait_for(FileLock{folder_ / "lock"}, stop_);
    try {
      if (what_.checksum) return fetch_checked(*what_.checksum);
      return fetch_newest();
    } catch (const Error& error) {
      // What came of an answer that is no file is of no use; a broken transfer can go on.
      if (error.kind == Errc::bad_input) fs::remove(part_);
      throw;
    }
  }

 private:
  static fs::path folder_for(const Download& what) {
    const auto key = what.url + "|" + (what.checksum ? what.checksum->text() : "");
    return cache_directory() / "downloads" / sha256_hex(key).substr(0, 16);
  }

  Downloaded fetch_checked(const Checksum& wanted) {
    if (fs::exists(file_)) {
      if (sum_here(file_, wanted.kind) == wanted.hex) return {file_, wanted};
      log::warn("{}: is not what was downloaded any more; it is fetched again", file_.string());
      fs::remove(file_);
    }
    const bool resumed = fs::exists(part_);
    transfer();
    auto seen = sum_here(part_, wanted.kind);
    if (seen != wanted.hex && resumed) {
      fs::remove(part_);
      transfer();
      seen = sum_here(part_, wanted.kind);
    }
    if (seen != wanted.hex) {
      throw Error{Errc::bad_input,
                  fmt::format("{}: its checksum is {}, not {}", shown_url(what_.url),
                              Checksum{wanted.kind, seen}.text(), wanted.text())}
          .with_hint("The file was changed there, or the checksum is another file's.");
    }
    fs::rename(part_, file_);
    return {file_, wanted};
  }

  Downloaded fetch_newest() {
    fs::remove(part_);
    WebRequest request = whole_request();
    if (fs::exists(file_)) request.unless_newer = file_;
    if (attempt(request) == WebEnd::whole) {
      fs::rename(part_, file_);
    } else {
      fs::remove(part_);
    }
    return {file_, {HashKind::sha256, sum_here(file_, HashKind::sha256)}};
  }

  WebRequest whole_request() const {
    return {.url = what_.url,
            .target = part_,
            .may_be_plain = what_.checksum.has_value(),
            .progress = what_.progress,
            .stop = &stop_};
  }

  /// Fills `part_`, going on with what is there.
  void transfer() {
    for (int attempts = 1;; ++attempts) {
      auto request = whole_request();
      request.resume = fs::exists(part_);
      const auto end = attempt(request);
      if (end == WebEnd::whole) return;
      // The server can't go on at a place, or has a shorter file by now.
      fs::remove(part_);
      if (attempts == most_attempts) {
        throw Error{Errc::protocol,
                    fmt::format("{}: the server sends no whole file", shown_url(what_.url))};
      }
    }
  }

  /// A connection that breaks is made anew.
  WebEnd attempt(WebRequest request) {
    for (int attempts = 1;; ++attempts) {
      try {
        return transfer_from_web(request);
      } catch (const Error& error) {
        if (error.kind != Errc::unreachable || error.sent == Sent::no ||
            attempts == most_attempts) {
          throw;
        }
        log::info("{}; it goes on", error.what());
      }
      std::this_thread::sleep_for(500ms * attempts);
      if (what_.checksum) request.resume = fs::exists(part_);
    }
  }

  std::string sum_here(const fs::path& file, HashKind kind) const {
    return file_sum(file, kind, [this](std::uint64_t, std::uint64_t) {
      if (stop_) throw Error{Errc::cancelled, "the download was stopped"};
    });
  }

  const Download& what_;
  const std::atomic<bool>& stop_;
  fs::path folder_;
  fs::path file_;
  fs::path part_;
};

}  // namespace

bool is_url(std::string_view text) noexcept {
  return text.starts_with("http://") || text.starts_with("https://");
}

std::string shown_url(const std::string& url) {
  const auto host = url.find("://") + 3;
  const auto path = std::min(url.find('/', host), url.size());
  const auto at = url.substr(0, path).rfind('@');
  const auto query = std::min(url.find_first_of("?#"), url.size());
  if (at == std::string::npos || at < host) return url.substr(0, query);
  return url.substr(0, host) + url.substr(at + 1, query - at - 1);
}

std::string file_name_of(const std::string& url) {
  const auto plain = shown_url(url);
  const auto host = plain.find("://") + 3;
  const auto slash = plain.rfind('/');
  std::string out;
  for (const char c : slash < host ? "" : plain.substr(slash + 1)) {
    const bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '_' || c == '-';
    out += fine ? c : '_';
  }
  while (out.starts_with('.')) out.erase(0, 1);
  // An upload's name has room for 255, some of them ours.
  if (out.size() > 150) out.erase(0, out.size() - 150);
  return out.empty() ? "image" : out;
}

awaitable<Downloaded> download(asio::thread_pool& pool, Download what) {
  std::atomic<bool> stop = false;
  std::optional<Downloaded> out;
  auto work = [](asio::thread_pool& threads, const Download& from, const std::atomic<bool>& ends,
                 std::optional<Downloaded>& into) -> awaitable<void> {
    into = co_await run_in_pool(threads, [&] { return DownloadJob{from, ends}.run(); });
  };
  auto watch = [](std::atomic<bool>& ends) -> awaitable<void> {
    try {
      co_await Event{co_await asio::this_coro::executor}.wait();
    } catch (...) {
      ends = true;
      throw;
    }
  };
  co_await with_company(work(pool, what, stop, out), watch(stop));
  co_return *std::move(out);
}

}  // namespace px::image
