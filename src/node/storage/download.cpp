#include "node/storage/download.hpp"

#include "node/storage/archive_io.hpp"
#include "node/storage/temporary_path.hpp"
#include "support/bytes.hpp"
#include "support/process.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <boost/algorithm/string/trim.hpp>

#include <charconv>
#include <fstream>
#include <regex>
#include <sstream>

namespace px::node {

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

/// In the language whose words are looked at below.
std::vector<std::string> wget(bool verify_certificates, std::vector<std::string> arguments,
                              const std::string& url) {
  std::vector<std::string> argv{"env", "LC_ALL=C", "wget"};
  if (!verify_certificates) argv.emplace_back("--no-check-certificate");
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  argv.insert(argv.end(), {"--", url});
  return argv;
}

/// Hands a growing file's lines on, and keeps the last one.
class Follower {
 public:
  explicit Follower(const fs::path& file) : file_{file} {}
  void follow(TaskLog& log) {
    file_.clear();
    for (char c = 0; file_.get(c);) {
      if (c != '\n') {
        line_ += c;
        continue;
      }
      if (!line_.empty()) log.line(line_);
      last_ = std::exchange(line_, {});
    }
  }
  const std::string& last() const { return last_; }

 private:
  std::ifstream file_;
  std::string line_;
  std::string last_;
};

awaitable<void> watch(Process& process, Follower& follower, TaskLog& log) {
  for (auto pause = 5ms; process.alive(); pause = std::min(pause * 2, 200ms)) {
    co_await sleep_for(pause);
    follower.follow(log);
  }
}

/// Of a process that nobody watches any more.
awaitable<void> end(Process& process) {
  for (process.kill(); process.alive();) co_await sleep_for(2ms);
}

/// PVE ends with the tool's last line, or with its exit code when that line is empty
/// (pve-common Tools.pm, run_command; exchange 16).
awaitable<void> fetch(const Download& download, const fs::path& to, TaskLog& log) {
  const TemporaryPath output{fs::path{to}.concat(".log")};
  auto process = Process::spawn(
      wget(download.verify_certificates, {"--progress=dot:giga", "-O", to.string()}, download.url),
      to.parent_path(), output.path);
  Follower follower{output.path};
  co_await with_cleanup(watch(process, follower, log), end(process));
  follower.follow(log);
  if (process.exit_code() == 0) co_return;
  throw ApiError{
      500, fmt::format("download failed: {}", follower.last().empty()
                                                  ? fmt::format("exit code {}", process.exit_code())
                                                  : follower.last())};
}

void decompress(const fs::path& from, const fs::path& to) {
  CompressedReader reader{from};
  std::ofstream out{to, std::ios::binary};
  std::string piece(1U << 20, '\0');
  for (std::size_t got = piece.size(); got == piece.size();) {
    got = reader.read(piece);
    out.write(piece.data(), static_cast<std::streamsize>(got));
  }
  out.close();
  if (!out) throw Error{Errc::rejected, fmt::format("{}: no space left", to.string())};
}

void check_compression(const Download& download) {
  if (download.compression.empty()) return;
  if (download.content != "iso") {
    throw ApiError{500, fmt::format("decompression not supported for {}", download.content)};
  }
  if (download.compression == "lzo") {
    throw ApiError{500, "the local node does not decompress lzo"};
  }
}

constexpr std::size_t longest_header = 1024;

struct HttpAnswer {
  std::string status;  ///< "404 File not found"; empty = there was none
  std::map<std::string, std::string> headers;
};

/// The last answer in the output of `wget --server-response`: the one after all redirections.
HttpAnswer last_answer(const std::string& output) {
  static const std::regex status{R"(\s*HTTP/[0-9.]+ (\d{3}.*))"};
  HttpAnswer answer;
  std::istringstream lines{output};
  for (std::string line; std::getline(lines, line);) {
    // A server may send long ones; regular expressions must not.
    line.resize(std::min(line.size(), longest_header));
    boost::algorithm::trim_right(line);
    std::smatch match;
    if (std::regex_match(line, match, status)) {
      answer = {match[1], {}};
    } else if (const auto colon = line.find(": ");
               line.starts_with("  ") && colon != std::string::npos) {
      answer.headers[boost::algorithm::to_lower_copy(line.substr(2, colon - 2))] =
          line.substr(colon + 2);
    }
  }
  return answer;
}

/// As Perl's LWP tells that there was no answer (exchange 03).
std::string no_answer(const std::string& url, const std::string& output) {
  static const std::regex host{R"((https?)://(?:[^/@]*@)?([^/:?#]+)(?::(\d+))?.*)"};
  static const std::regex failure{R"(failed: ([^\n]*?)\.?\n)"};
  std::smatch place;
  std::smatch why;
  std::regex_match(url, place, host);
  std::regex_search(output, why, failure);
  const std::string port = place[3].matched ? place[3].str() : place[1] == "https" ? "443" : "80";
  return fmt::format("500 Can't connect to {}:{}{}", place[2].str(), port,
                     why.empty() ? "" : fmt::format(" ({})", why[1].str()));
}

std::string file_name(const std::string& url, const HttpAnswer& answer) {
  static const std::regex disposition{R"re(.*filename=(?:"([^"]*)"|([^;]*)).*)re"};
  static const std::regex last_segment{R"([^?]+/([^?/]*)(?:\?.*)?)"};
  std::smatch match;
  const auto given = answer.headers.find("content-disposition");
  if (given != answer.headers.end() && std::regex_match(given->second, match, disposition)) {
    return match[1].matched ? match[1] : match[2];
  }
  return std::regex_match(url, match, last_segment) ? match[1].str() : "";
}

}  // namespace

awaitable<void> run_download(Download download, Disks& disks, asio::thread_pool& threads,
                             TaskLog& log) {
  check_compression(download);
  log.line(fmt::format("downloading {} to {}", download.url, download.target.string()));
  if (fs::exists(download.target)) {
    throw ApiError{
        500, fmt::format("refusing to override existing file '{}'", download.target.string())};
  }
  const TemporaryPath file{download.spool / ("download-" + random_hex(16))};
  co_await fetch(download, file.path, log);
  if (!download.checksum.digest.empty()) {
    log.line("calculating checksum...");
    co_await run_in_pool(threads, [&] { verify(download.checksum, file.path); });
    log.lines.back() += "OK, checksum verified";
  }
  co_await run_in_pool(
      threads, [&] { check_contents(disks, file.path, download.target.filename().string()); });
  if (download.compression.empty()) {
    fs::rename(file.path, download.target);
  } else {
    log.line(fmt::format("decompressing {}", download.compression));
    const TemporaryPath plain{fs::path{file.path}.concat(".plain")};
    co_await run_in_pool(threads, [&] { decompress(file.path, plain.path); });
    fs::rename(plain.path, download.target);
  }
  log.line(
      fmt::format("download of '{}' to '{}' finished", download.url, download.target.string()));
}

json::object describe_url(const std::string& url, bool verify_certificates) {
  const auto result = run_tool(wget(
      verify_certificates, {"--spider", "--server-response", "--timeout=10", "--tries=1"}, url));
  const auto answer = last_answer(result.errors);
  if (answer.status.empty() || !answer.status.starts_with('2')) {
    throw ApiError{
        500, fmt::format("invalid server response: '{}'",
                         answer.status.empty() ? no_answer(url, result.errors) : answer.status)};
  }
  json::object out;
  if (auto name = file_name(url, answer); !name.empty()) out["filename"] = name;
  if (const auto size = answer.headers.find("content-length"); size != answer.headers.end()) {
    std::int64_t bytes = 0;
    std::from_chars(size->second.data(), size->second.data() + size->second.size(), bytes);
    out["size"] = bytes;
  }
  if (const auto type = answer.headers.find("content-type"); type != answer.headers.end()) {
    out["mimetype"] = type->second.substr(0, type->second.find(';'));
  }
  return out;
}

}  // namespace px::node
