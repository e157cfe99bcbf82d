#include "image/web_transfer.hpp"

#include "image/download.hpp"
#include "support/error.hpp"

#include <boost/algorithm/string/predicate.hpp>
#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <curl/curl.h>
#include <exception>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace px::image {

namespace {

constexpr long connect_seconds = 20;
/// A server that sends nothing for so long is given up.
constexpr long stall_seconds = 60;

/// libcurl wants to be set up before there are threads that use it.
const bool curl_is_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;

class WebTransfer {
 public:
  explicit WebTransfer(const WebRequest& request)
      : request_{request}, curl_{curl_easy_init(), &curl_easy_cleanup} {
    if (!curl_is_ready || !curl_) throw Error{Errc::internal, "libcurl can't be set up"};
    open();
    prepare();
  }
  ~WebTransfer() { ::close(file_); }
  WebTransfer(const WebTransfer&) = delete;
  WebTransfer& operator=(const WebTransfer&) = delete;

  WebEnd run() {
    const auto code = curl_easy_perform(curl_.get());
    if (failure_) std::rethrow_exception(failure_);
    const auto status = number(CURLINFO_RESPONSE_CODE);
    if (cannot_resume() || code == CURLE_RANGE_ERROR) return WebEnd::cant_resume;
    if (code != CURLE_OK) throw error_of(code);
    check_answer();
    if (number(CURLINFO_CONDITION_UNMET) != 0 || status == 304) return WebEnd::not_newer;
    if (const auto time = number(CURLINFO_FILETIME); time > 0) {
      const timespec both{time, 0};
      const timespec times[] = {both, both};
      ::futimens(file_, times);
    }
    return WebEnd::whole;
  }

 private:
  void open() {
    const auto flags = O_WRONLY | O_CREAT | O_CLOEXEC | (request_.resume ? 0 : O_TRUNC);
    file_ = ::open(request_.target.c_str(), flags, 0600);
    if (file_ < 0) throw_no_room();
    const auto end = ::lseek(file_, 0, SEEK_END);
    begin_ = at_ = static_cast<std::uint64_t>(end);
  }

  template <class T>
  void set(CURLoption option, T value) {
    if (curl_easy_setopt(curl_.get(), option, value) != CURLE_OK) {
      throw Error{Errc::internal, fmt::format("libcurl knows no option {}", int{option})};
    }
  }

  long number(CURLINFO what) const {
    long value = 0;
    curl_easy_getinfo(curl_.get(), what, &value);
    return value;
  }

  void prepare() {
    set(CURLOPT_URL, request_.url.c_str());
    set(CURLOPT_ERRORBUFFER, words_);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    const bool secure = request_.url.starts_with("https:") && !request_.may_be_plain;
    set(CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
    set(CURLOPT_FOLLOWLOCATION, 1L);
    set(CURLOPT_MAXREDIRS, 10L);
    set(CURLOPT_CONNECTTIMEOUT, connect_seconds);
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, stall_seconds);
    set(CURLOPT_USERAGENT, "proxmox-sandbox/" PX_VERSION);
    set(CURLOPT_FILETIME, 1L);
    if (const char* authorities = std::getenv("SSL_CERT_FILE")) set(CURLOPT_CAINFO, authorities);
    if (begin_ > 0) set(CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(begin_));
    if (!request_.unless_newer.empty()) {
      struct stat here{};
      if (::stat(request_.unless_newer.c_str(), &here) == 0) {
        set(CURLOPT_TIMECONDITION, long{CURL_TIMECOND_IFMODSINCE});
        set(CURLOPT_TIMEVALUE_LARGE, static_cast<curl_off_t>(here.st_mtim.tv_sec));
      }
    }
    set(CURLOPT_WRITEFUNCTION, &WebTransfer::take);
    set(CURLOPT_WRITEDATA, static_cast<void*>(this));
    set(CURLOPT_NOPROGRESS, 0L);
    set(CURLOPT_XFERINFOFUNCTION, &WebTransfer::tell);
    set(CURLOPT_XFERINFODATA, static_cast<void*>(this));
  }

  static std::size_t take(char* bytes, std::size_t, std::size_t count, void* self) {
    auto& me = *static_cast<WebTransfer*>(self);
    return me.guarded([&] { me.write({bytes, count}); }) ? count : CURL_WRITEFUNC_ERROR;
  }

  static int tell(void* self, curl_off_t total, curl_off_t done, curl_off_t, curl_off_t) {
    auto& me = *static_cast<WebTransfer*>(self);
    const bool goes_on = me.guarded([&] {
      if (me.request_.stop != nullptr && *me.request_.stop) {
        throw Error{Errc::cancelled, "the download was stopped"};
      }
      if (!me.request_.progress || me.at_ == std::exchange(me.told_, me.at_)) return;
      const bool is_known = total > 0 && done > 0;
      me.request_.progress(me.at_, is_known ? me.begin_ + static_cast<std::uint64_t>(total) : 0);
    });
    return goes_on ? 0 : 1;
  }

  /// No exception may go through libcurl.
  template <class F>
  bool guarded(const F& work) {
    try {
      work();
      return true;
    } catch (...) {
      failure_ = std::current_exception();
      return false;
    }
  }

  void write(std::string_view bytes) {
    if (cannot_resume()) return;
    if (at_ == begin_) {
      check_answer();
      if (begin_ == 0) check_is_no_page(bytes);
    }
    while (!bytes.empty()) {
      const auto count = ::write(file_, bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw_no_room();
      bytes.remove_prefix(static_cast<std::size_t>(count));
      at_ += static_cast<std::uint64_t>(count);
    }
  }

  /// RFC 9110 section 15.5.17: what is here is not shorter than the file there.
  bool cannot_resume() const { return begin_ > 0 && number(CURLINFO_RESPONSE_CODE) == 416; }

  void check_answer() const {
    const auto status = number(CURLINFO_RESPONSE_CODE);
    if (status < 400) return;
    const auto text = fmt::format("{}: the server answers {}", shown(), status);
    if (status >= 500) throw Error{Errc::unreachable, text}.with_sent(Sent::maybe);
    throw Error{Errc::bad_input, text};
  }

  /// A page that says "log in first", or "not found" with the status of success.
  void check_is_no_page(std::string_view bytes) const {
    const char* type = nullptr;
    curl_easy_getinfo(curl_.get(), CURLINFO_CONTENT_TYPE, &type);
    const bool is_page = (type != nullptr && boost::istarts_with(type, "text/html")) ||
                         boost::istarts_with(bytes, "<!doctype html") ||
                         boost::istarts_with(bytes, "<html");
    if (!is_page) return;
    throw Error{Errc::bad_input,
                fmt::format("{}: it leads to a web page (text/html), no image", shown())}
        .with_hint("Name the file itself; where a page stands before it, download it by hand.");
  }

  Error error_of(CURLcode code) const {
    const std::string said = words_[0] == '\0' ? curl_easy_strerror(code) : words_;
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

  [[noreturn]] void throw_no_room() const {
    throw Error{Errc::rejected, fmt::format("{}: {}; XDG_CACHE_HOME names another place",
                                            request_.target.string(), std::strerror(errno))};
  }

  std::string shown() const { return shown_url(request_.url); }

  const WebRequest& request_;
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_;
  char words_[CURL_ERROR_SIZE] = "";
  int file_ = -1;
  std::uint64_t begin_ = 0;
  std::uint64_t at_ = 0;
  std::uint64_t told_ = 0;
  std::exception_ptr failure_{};
};

}  // namespace

WebEnd transfer_from_web(const WebRequest& request) {
  return WebTransfer{request}.run();
}

}  // namespace px::image
