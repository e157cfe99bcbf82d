#pragma once
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include <atomic>
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
      if (!error) answer(socket, request);
    }
  }

  void answer(boost::asio::ip::tcp::socket& socket, const std::string& request) {
    const auto from = request.find(' ') + 1;
    const auto found = files_.find(request.substr(from, request.find(' ', from) - from));
    const HttpFile none{.body = "<html>", .status = "404 File not found"};
    const HttpFile& file = found == files_.end() ? none : found->second;
    auto text = fmt::format("HTTP/1.0 {}\r\nContent-Length: {}\r\n{}\r\n", file.status,
                            file.body.size() + file.missing, file.headers);
    if (!request.starts_with("HEAD")) text += file.body;
    boost::system::error_code ignored;
    boost::asio::write(socket, boost::asio::buffer(text), ignored);
  }

  std::map<std::string, HttpFile> files_;
  std::atomic<bool> stopping_ = false;
  boost::asio::io_context io_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::thread thread_;
};

}  // namespace px::testing
