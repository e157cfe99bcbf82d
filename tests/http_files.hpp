#pragma once
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include <atomic>
#include <cctype>
#include <map>
#include <string>
#include <thread>
#include <utility>

namespace px::testing {

/// What a path answers.
struct HttpFile {
  std::string body{};
  std::string status = "200 OK";
  std::string headers{};    ///< each with its line end
  std::size_t missing = 0;  ///< bytes that are promised and never sent
  bool ranges = false;      ///< parts are sent, too
  std::size_t cut = 0;      ///< bytes of `body` at its end that only a request for a part gets
  std::string time{};       ///< Last-Modified; a request with that time is answered 304
};

/// A web server on the loopback that knows a few files, each by its path.
class HttpFiles {
 public:
  explicit HttpFiles(std::map<std::string, HttpFile> files)
      : files_{std::move(files)},
        acceptor_{io_, {boost::asio::ip::address_v4::loopback(), 0}},
        thread_{[this] { serve(); }} {}
  ~HttpFiles() {
    stopping_ = true;
    boost::asio::ip::tcp::socket wake{io_};
    boost::system::error_code ignored;
    wake.connect(acceptor_.local_endpoint(), ignored);
    thread_.join();
  }
  HttpFiles(const HttpFiles&) = delete;
  HttpFiles& operator=(const HttpFiles&) = delete;

  /// Of any kind, so far.
  int requests() const { return requests_; }

  std::string url(const std::string& path) const {
    return fmt::format("http://127.0.0.1:{}{}", acceptor_.local_endpoint().port(), path);
  }

 private:
  void serve() {
    while (!stopping_) {
      boost::system::error_code error;
      auto socket = acceptor_.accept(error);
      if (error || stopping_) continue;
      std::string request;
      boost::asio::read_until(socket, boost::asio::dynamic_buffer(request), "\r\n\r\n", error);
      if (error) continue;
      ++requests_;
      answer(socket, request);
    }
  }

  void answer(boost::asio::ip::tcp::socket& socket, const std::string& request) {
    const auto from = request.find(' ') + 1;
    const auto found = files_.find(request.substr(from, request.find(' ', from) - from));
    const HttpFile none{.body = "<html>", .status = "404 File not found"};
    const HttpFile& file = found == files_.end() ? none : found->second;
    boost::system::error_code ignored;
    boost::asio::write(socket, boost::asio::buffer(text_of(file, request)), ignored);
  }

  static std::string text_of(const HttpFile& file, const std::string& request) {
    if (!file.time.empty() &&
        request.find("If-Modified-Since: " + file.time) != std::string::npos) {
      return "HTTP/1.0 304 Not Modified\r\n\r\n";
    }
    auto headers = file.headers;
    if (!file.time.empty()) headers += fmt::format("Last-Modified: {}\r\n", file.time);
    const std::string range = "Range: bytes=";
    const auto asked = request.find(range);
    if ((file.ranges || file.cut > 0) && asked != std::string::npos) {
      return part_of(file, request.substr(asked + range.size()), headers);
    }
    auto text = fmt::format("HTTP/1.0 {}\r\nContent-Length: {}\r\n{}\r\n", file.status,
                            file.body.size() + file.missing, headers);
    if (!request.starts_with("HEAD")) text += file.body.substr(0, file.body.size() - file.cut);
    return text;
  }

  /// `wanted`: "2-" or "2-9", and what follows.
  static std::string part_of(const HttpFile& file, const std::string& wanted,
                             const std::string& headers) {
    std::size_t length = 0;
    const auto begin = std::stoul(wanted, &length);
    const auto rest = wanted.substr(length + 1);
    const bool to_the_end = rest.empty() || std::isdigit(static_cast<unsigned char>(rest[0])) == 0;
    const auto part =
        file.body.substr(begin, to_the_end ? std::string::npos : std::stoul(rest) - begin + 1);
    return fmt::format(
        "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Length: {}\r\n"
        "Content-Range: bytes {}-{}/{}\r\n{}\r\n{}",
        part.size(), begin, begin + part.size() - 1, file.body.size(), headers, part);
  }

  std::map<std::string, HttpFile> files_;
  std::atomic<bool> stopping_ = false;
  std::atomic<int> requests_ = 0;
  boost::asio::io_context io_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::thread thread_;
};

}  // namespace px::testing
