#pragma once
#include "support/error.hpp"

#include <array>
#include <curl/curl.h>
#include <memory>
#include <string>
#include <string_view>

namespace px::image {

/// A handle of libcurl for GETs of one URL: what all of them have in common. Its requests block.
class WebHandle {
 public:
  /// `may_be_plain`: https may lead to http, for a checksum protects what comes.
  WebHandle(std::string url, bool may_be_plain);

  template <class T>
  void set(CURLoption option, T value) {
    if (curl_easy_setopt(curl_.get(), option, value) != CURLE_OK) throw_unknown(option);
  }
  CURLcode perform() { return curl_easy_perform(curl_.get()); }
  long number(CURLINFO what) const;
  /// Of the last answer; empty when it has none of that name.
  std::string header(const char* name) const;

  /// Throws for an answer of 400 and above: bad_input, from 500 on unreachable.
  void check_answer() const;
  /// A page that says "log in first", or "not found" with the status of success.
  void check_is_no_page(std::string_view bytes) const;
  /// In libcurl's words.
  Error error_of(CURLcode code) const;

 private:
  [[noreturn]] static void throw_unknown(CURLoption option);
  std::string shown() const;

  std::string url_;
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_;
  /// Where libcurl says more; its place must stay.
  std::unique_ptr<std::array<char, CURL_ERROR_SIZE>> words_;
};

}  // namespace px::image
