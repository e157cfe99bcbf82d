#include "image/remembered_sum.hpp"

#include "image/built_in.hpp"
#include "support/bytes.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace px::image {

namespace {

namespace fs = std::filesystem;

/// Coarser than any file system's clock.
constexpr std::time_t settled_seconds = 2;

struct FileState {
  std::string text;
  std::time_t changed = 0;
};

/// With the time of the inode's change, which no program can set back.
FileState state_of_file(const fs::path& file) {
  struct stat seen{};
  if (::stat(file.c_str(), &seen) != 0) return {};
  return {fmt::format("{} {} {} {}.{} {}.{}", seen.st_dev, seen.st_ino, seen.st_size,
                      seen.st_mtim.tv_sec, seen.st_mtim.tv_nsec, seen.st_ctim.tv_sec,
                      seen.st_ctim.tv_nsec),
          std::max(seen.st_mtim.tv_sec, seen.st_ctim.tv_sec)};
}

std::optional<std::string> read_sum(const fs::path& note, const std::string& state) {
  std::ifstream in{note};
  std::string seen;
  std::string sum;
  if (!std::getline(in, seen) || !std::getline(in, sum) || seen != state) return std::nullopt;
  return sum;
}

void write_sum(const fs::path& note, const std::string& state, const std::string& sum) {
  std::error_code error;
  fs::create_directories(note.parent_path(), error);
  const auto fresh = fs::path{note}.concat(fmt::format(".{}-{}", ::getpid(), random_hex(8)));
  {
    std::ofstream out{fresh};
    out << state << '\n' << sum << '\n';
    out.close();
    if (!out) error = std::make_error_code(std::errc::io_error);
  }
  if (!error) fs::rename(fresh, note, error);
  if (!error) return;
  log::debug("{}: {}; the sum is made anew next time", note.string(), error.message());
  fs::remove(fresh, error);
}

}  // namespace

std::string remembered_sum(const fs::path& file, std::string_view what,
                           const std::function<std::string()>& make) {
  const auto key = fmt::format("{}|{}", what, fs::absolute(file).string());
  const auto note = cache_directory() / "sums" / sha256_hex(key).substr(0, 32);
  const auto before = state_of_file(file);
  if (before.text.empty()) return make();
  const auto began = std::time(nullptr);
  if (auto known = read_sum(note, before.text)) return *std::move(known);
  auto sum = make();
  const bool is_settled = before.changed + settled_seconds < began;
  if (is_settled && state_of_file(file).text == before.text) write_sum(note, before.text, sum);
  return sum;
}

}  // namespace px::image
