#include "node/storage/backup_files.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <fstream>
#include <regex>
#include <sstream>

namespace px::node {

namespace {

namespace fs = std::filesystem;

fs::path beside(const fs::path& archive, const char* suffix) {
  return fs::path{archive}.concat(suffix);
}

}  // namespace

std::optional<ArchiveName> parse_archive_name(const std::string& name) {
  static const std::regex form{
      R"(vzdump-qemu-([1-9][0-9]{2,8})-(\d{4})_(\d\d)_(\d\d)-(\d\d)_(\d\d)_(\d\d)\.(vma(\.(gz|lzo|zst))?))"};
  std::smatch match;
  if (!std::regex_match(name, match, form)) return std::nullopt;
  const auto number = [&match](std::size_t i) { return std::stoi(match[i]); };
  std::tm time{};
  time.tm_year = number(2) - 1900;
  time.tm_mon = number(3) - 1;
  time.tm_mday = number(4);
  time.tm_hour = number(5);
  time.tm_min = number(6);
  time.tm_sec = number(7);
  time.tm_isdst = -1;
  return ArchiveName{number(1), std::mktime(&time), match[8]};
}

std::string make_archive_name(int vmid, std::int64_t ctime, std::string_view suffix) {
  return fmt::format("vzdump-qemu-{}-{:%Y_%m_%d-%H_%M_%S}{}", vmid,
                     fmt::localtime(static_cast<std::time_t>(ctime)), suffix);
}

void add_attributes(const fs::path& archive, json::object& out) {
  if (std::ifstream file{beside(archive, ".notes"), std::ios::binary}; file) {
    std::stringstream text;
    text << file.rdbuf();
    out["notes"] = text.str();
  }
  if (is_protected(archive)) out["protected"] = 1;
}

void set_notes(const fs::path& archive, const std::string& notes) {
  if (notes.empty()) {
    fs::remove(beside(archive, ".notes"));
  } else {
    std::ofstream{beside(archive, ".notes"), std::ios::binary} << notes;
  }
}

void set_protected(const fs::path& archive, bool on) {
  if (on) {
    const std::ofstream created{beside(archive, ".protected")};
  } else {
    fs::remove(beside(archive, ".protected"));
  }
}

bool is_protected(const fs::path& archive) {
  return fs::exists(beside(archive, ".protected"));
}

void remove_attributes(const fs::path& archive) {
  for (const auto* suffix : {".notes", ".protected"}) {
    std::error_code ignored;
    fs::remove(beside(archive, suffix), ignored);
  }
}

}  // namespace px::node
