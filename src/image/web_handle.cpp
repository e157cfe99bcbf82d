#include "image/web_handle.hpp"

#include "image/download.hpp"

#include <boost/algorithm/string/predicate.hpp>
#include <fmt/format.h>

#include <cstdlib>

namespace px::image {

namespace {

constexpr long connect_seconds = 20;
/// A server that sends nothing for so long is given up.
constexpr long stall_seconds = 60;
constexpr long most_redirections = 10;

/// libcurl wants to be set up before there are threads that use it.
const bool curl_is_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;

}  // namespace

WebHandle::WebHandle(std::string url, bool may_be_plain)
    : url_{std::move(url)},
      curl_{curl_easy_init(), &curl_easy_cleanup},
      words_{std::make_unique<std::array<char, CURL_ERROR_SIZE>>()} {
  if (!curl_is_ready || !curl_) throw Error{Errc::internal, "libcurl can't be set up"};
  words_->front() = '\0';
  set(CURLOPT_URL, url_.c_str());
  set(CURLOPT_ERRORBUFFER, words_->data());
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  const bool secure = url_.starts_with("https:") && !may_be_plain;
  set(CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
  set(CURLOPT_FOLLOWLOCATION, 1L);
  set(CURLOPT_MAXREDIRS, most_redirections);
  set(CURLOPT_CONNECTTIMEOUT, connect_seconds);
  set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  set(CURLOPT_LOW_SPEED_TIME, stall_seconds);
  set(CURLOPT_USERAGENT, "proxmox-sandbox/" PX_VERSION);
  if (const char* authorities = std::getenv("SSL_CERT_FILE")) set(CURLOPT_CAINFO, authorities);
}

long WebHandle::number(CURLINFO what) const {
  long value = 0;
  curl_easy_getinfo(curl_.get(), what, &value);
  return value;
}

std::string WebHandle::header(const char* name) const {
  curl_header* found = nullptr;
  const auto got = curl_easy_header(curl_.get(), name, 0, CURLH_HEADER, -1, &found);
  return got == CURLHE_OK ? found->value : "";
}

void WebHandle::check_answer() const {
  const auto status = number(CURLINFO_RESPONSE_CODE);
  if (status < 400) return;
  const auto text = fmt::format("{}: the server answers {}", shown(), status);
  if (status >= 500) throw Error{Errc::unreachable, text}.with_sent(Sent::maybe);
  throw Error{Errc::bad_input, text};
}

void WebHandle::check_is_no_page(std::string_view bytes) const {
  const bool is_page = boost::istarts_with(header("Content-Type"), "text/html") ||
                       boost::istarts_with(bytes, "<!doctype html") ||
                       boost::istarts_with(bytes, "<html");
  if (!is_page) return;
  throw Error{Errc::bad_input,
              fmt::format("{}: it leads to a web page (text/html), no image", shown())}
      .with_hint("Name the file itself; where a page stands before it, download it by hand.");
}

Error WebHandle::error_of(CURLcode code) const {
  const std::string said = words_->front() == '\0' ? curl_easy_strerror(code) : words_->data();
  const auto text = fmt::format("{}: {}", shown(), said);
  switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CACERT_BADFILE:
      return Error{Errc::tls, text}.with_hint("SSL_CERT_FILE names other authorities.");
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_TOO_MANY_REDIRECTS:
      return Error{Errc::bad_input, text};
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
      return Error{Errc::unreachable, text};
    default:
      return Error{Errc::unreachable, text}.with_sent(Sent::maybe);
  }
}

void WebHandle::throw_unknown(CURLoption option) {
  throw Error{Errc::internal, fmt::format("libcurl knows no option {}", int{option})};
}

std::string WebHandle::shown() const {
  return shown_url(url_);
}

}  // namespace px::image
