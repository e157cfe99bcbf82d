#include "image/web_transfer.hpp"

#include "image/web_handle.hpp"
#include "support/error.hpp"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace px::image {

namespace {

class WebTransfer {
 public:
  explicit WebTransfer(const WebRequest& request)
      : request_{request}, web_{request.url, request.may_be_plain} {
    open();
    prepare();
  }
  ~WebTransfer() { ::close(file_); }
  WebTransfer(const WebTransfer&) = delete;
  WebTransfer& operator=(const WebTransfer&) = delete;

  WebEnd run() {
    const auto code = web_.perform();
    if (failure_) std::rethrow_exception(failure_);
    if (cannot_resume() || code == CURLE_RANGE_ERROR) return WebEnd::cant_resume;
    if (code != CURLE_OK) throw web_.error_of(code);
    web_.check_answer();
    constexpr long not_modified = 304;
    if (web_.number(CURLINFO_CONDITION_UNMET) != 0 ||
        web_.number(CURLINFO_RESPONSE_CODE) == not_modified) {
      return WebEnd::not_newer;
    }
    if (const auto time = web_.number(CURLINFO_FILETIME); time > 0) {
      const std::array<timespec, 2> both{timespec{time, 0}, timespec{time, 0}};
      ::futimens(file_, both.data());
    }
    return WebEnd::whole;
  }

 private:
  void open() {
    const auto flags = O_WRONLY | O_CREAT | O_CLOEXEC | (request_.resume ? 0 : O_TRUNC);
    file_ = ::open(request_.target.c_str(), flags, 0600);
    if (file_ < 0) throw_no_room();
    begin_ = at_ = told_ = static_cast<std::uint64_t>(::lseek(file_, 0, SEEK_END));
  }

  void prepare() {
    web_.set(CURLOPT_FILETIME, 1L);
    if (begin_ > 0) web_.set(CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(begin_));
    struct stat here{};
    if (!request_.unless_newer.empty() && ::stat(request_.unless_newer.c_str(), &here) == 0) {
      web_.set(CURLOPT_TIMECONDITION, long{CURL_TIMECOND_IFMODSINCE});
      web_.set(CURLOPT_TIMEVALUE_LARGE, static_cast<curl_off_t>(here.st_mtim.tv_sec));
    }
    web_.set(CURLOPT_WRITEFUNCTION, &WebTransfer::take);
    web_.set(CURLOPT_WRITEDATA, static_cast<void*>(this));
    web_.set(CURLOPT_NOPROGRESS, 0L);
    web_.set(CURLOPT_XFERINFOFUNCTION, &WebTransfer::tell);
    web_.set(CURLOPT_XFERINFODATA, static_cast<void*>(this));
  }

  static std::size_t take(char* bytes, std::size_t, std::size_t count, void* self) {
    auto& me = *static_cast<WebTransfer*>(self);
    return me.guarded([&] { me.write({bytes, count}); }) ? count : CURL_WRITEFUNC_ERROR;
  }

  static int tell(void* self, curl_off_t total, curl_off_t, curl_off_t, curl_off_t) {
    auto& me = *static_cast<WebTransfer*>(self);
    const bool goes_on = me.guarded([&] {
      if (me.request_.stop != nullptr && *me.request_.stop) {
        throw Error{Errc::cancelled, "the download was stopped"};
      }
      if (!me.request_.progress || me.at_ == std::exchange(me.told_, me.at_)) return;
      me.request_.progress(me.at_, total > 0 ? me.begin_ + static_cast<std::uint64_t>(total) : 0);
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
      web_.check_answer();
      if (begin_ == 0) web_.check_is_no_page(bytes);
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
  bool cannot_resume() const {
    constexpr long range_not_satisfiable = 416;
    return begin_ > 0 && web_.number(CURLINFO_RESPONSE_CODE) == range_not_satisfiable;
  }

  [[noreturn]] void throw_no_room() const {
    throw Error{Errc::rejected, fmt::format("{}: {}; XDG_CACHE_HOME names another place",
                                            request_.target.string(), std::strerror(errno))};
  }

  const WebRequest& request_;
  WebHandle web_;
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
