#include "image/web_parts.hpp"

#include "image/download.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace px::image {

namespace {

/// A tar header and the descriptor behind it, or a disk's header, in one request.
constexpr std::uint64_t block_bytes = 64U << 10U;
constexpr long partial_content = 206;

/// RFC 9110 section 14.4: `bytes 0-65535/1234567`. 0: it does not say.
std::uint64_t whole_size(const std::string& content_range) {
  std::uint64_t out = 0;
  const auto slash = content_range.find('/');
  if (slash == std::string::npos) return 0;
  std::from_chars(content_range.data() + slash + 1, content_range.data() + content_range.size(),
                  out);
  return out;
}

}  // namespace

WebParts::WebParts(const std::string& url) : web_{url, true}, url_{url} {
  web_.set(
      CURLOPT_WRITEFUNCTION,
      +[](char* bytes, std::size_t, std::size_t count, void* self) -> std::size_t {
        return static_cast<WebParts*>(self)->take({bytes, count});
      });
  web_.set(CURLOPT_WRITEDATA, static_cast<void*>(this));
  web_.check_is_no_page(block(0));
  size_ = whole_size(web_.header("Content-Range"));
  if (size_ == 0) throw Error{Errc::unsupported, shown_url(url_) + ": it does not tell its size"};
}

std::size_t WebParts::take(std::string_view bytes) {
  const bool fits = answer_.size() + bytes.size() <= block_bytes;
  if (!fits || web_.number(CURLINFO_RESPONSE_CODE) != partial_content) return CURL_WRITEFUNC_ERROR;
  answer_ += bytes;
  return bytes.size();
}

void WebParts::ask(std::uint64_t number) {
  answer_.clear();
  const auto begin = number * block_bytes;
  const auto range = fmt::format("{}-{}", begin, begin + block_bytes - 1);
  web_.set(CURLOPT_RANGE, range.c_str());
  const auto code = web_.perform();
  web_.check_answer();
  if (web_.number(CURLINFO_RESPONSE_CODE) == partial_content && code == CURLE_OK) return;
  if (code != CURLE_OK && code != CURLE_WRITE_ERROR && code != CURLE_RANGE_ERROR) {
    throw web_.error_of(code);
  }
  web_.check_is_no_page("");
  throw Error{Errc::unsupported, shown_url(url_) + ": its server sends no parts of files"};
}

const std::string& WebParts::block(std::uint64_t number) {
  const auto known = blocks_.find(number);
  if (known != blocks_.end()) return known->second;
  ask(number);
  return blocks_[number] = std::move(answer_);
}

std::string WebParts::read(std::uint64_t at, std::size_t count) {
  std::string out;
  const auto end = std::min<std::uint64_t>(at + count, size_);
  while (at + out.size() < end) {
    const auto place = at + out.size();
    const auto& part = block(place / block_bytes);
    const auto from = static_cast<std::size_t>(place % block_bytes);
    const auto more =
        part.substr(std::min(from, part.size()), static_cast<std::size_t>(end - place));
    if (more.empty()) {
      throw Error{Errc::bad_input, fmt::format("{}: it ends at offset {}, and has {} bytes: it was "
                                               "changed meanwhile",
                                               shown_url(url_), place, size_)};
    }
    out += more;
  }
  return out;
}

}  // namespace px::image
