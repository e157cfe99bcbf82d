#include "node/request.hpp"

#include "support/bytes.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace px::node {

namespace {

constexpr std::size_t largest_field = 64 * 1024;
constexpr std::size_t largest_headers = 16 * 1024;

std::string to_text(const json::value& value, std::string_view name) {
  switch (value.kind()) {
    case boost::json::kind::bool_:
      return value.get_bool() ? "1" : "0";
    case boost::json::kind::string:
      return std::string{value.get_string()};
    case boost::json::kind::object:
      throw ApiError::parameter(std::string{name}, "type check ('string') failed - got HASH");
    default:
      return boost::json::serialize(value);
  }
}

/// The value of a header parameter like boundary= or name="...".
std::string parameter_of(std::string_view header, std::string_view name) {
  const std::string key = std::string{name} + "=";
  for (auto at = header.find(key); at != std::string_view::npos; at = header.find(key, at + 1)) {
    const bool starts = at == 0 || header[at - 1] == ' ' || header[at - 1] == ';';
    if (!starts) continue;
    auto rest = header.substr(at + key.size());
    if (rest.starts_with('"')) {
      rest.remove_prefix(1);
      return std::string{rest.substr(0, rest.find('"'))};
    }
    return std::string{rest.substr(0, rest.find_first_of("; \r\n"))};
  }
  return {};
}

}  // namespace

void parse_form(std::string_view text, Values& out) {
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find_first_of("&;", at), text.size());
    const auto pair = text.substr(at, end - at);
    at = end + 1;
    if (pair.empty()) continue;
    const auto equals = std::min(pair.find('='), pair.size());
    try {
      auto name = percent_decode(pair.substr(0, equals), true);
      auto value = equals < pair.size() ? percent_decode(pair.substr(equals + 1), true) : "";
      out[std::move(name)].push_back(std::move(value));
    } catch (const Error&) {
      throw ApiError{400, "bad request\n"};
    }
  }
}

void parse_json(std::string_view text, Values& out) {
  boost::system::error_code error;
  const auto body = boost::json::parse(text, error);
  if (error) throw ApiError{500, fmt::format("malformed JSON string: {}\n", error.message())};
  if (!body.is_object()) throw ApiError{500, "Not a HASH reference\n"};
  for (const auto& [key, value] : body.get_object()) {
    if (value.is_null()) continue;
    auto& list = out[std::string{key}];
    if (value.is_array()) {
      for (const auto& item : value.get_array()) list.push_back(to_text(item, key));
    } else {
      list.push_back(to_text(value, key));
    }
  }
}

MultipartParser::MultipartParser(std::string_view content_type, std::filesystem::path spool)
    : spool_{std::move(spool)} {
  const auto boundary = parameter_of(content_type, "boundary");
  if (boundary.empty() || boundary.size() > 200) {
    throw ApiError{400, "upload without a multipart boundary"};
  }
  delimiter_ = "\r\n--" + boundary;
  // The first delimiter has no line break before it.
  buffer_ = "\r\n";
}

MultipartParser::~MultipartParser() {
  if (kept_ || file_.path.empty()) return;
  out_.close();
  std::error_code ignored;
  std::filesystem::remove(file_.path, ignored);
}

void MultipartParser::feed(std::string_view piece) {
  if (in_ == In::done) return;
  buffer_ += piece;
  step();
}

void MultipartParser::step() {
  for (bool more = true; more;) {
    switch (in_) {
      case In::preamble: {
        const auto at = buffer_.find(delimiter_);
        if (std::min(at, buffer_.size()) > largest_headers) {
          throw ApiError{400, "no multipart boundary found"};
        }
        if (at == std::string::npos) return;
        buffer_.erase(0, at + delimiter_.size());
        in_ = In::headers;
        break;
      }
      case In::headers:
        more = take_headers();
        break;
      case In::field:
      case In::file:
        more = take_body();
        break;
      case In::done:
        return;
    }
  }
}

/// Behind a delimiter: CRLF and the part's headers, or -- for the end.
bool MultipartParser::take_headers() {
  if (buffer_.size() < 2) return false;
  if (buffer_.starts_with("--")) {
    in_ = In::done;
    return false;
  }
  const auto end = buffer_.find("\r\n\r\n");
  if (std::min(end, buffer_.size()) > largest_headers) {
    throw ApiError{400, "the headers of an upload part are too long"};
  }
  if (end == std::string::npos) return false;
  const std::string headers = buffer_.substr(0, end);
  buffer_.erase(0, end + 4);
  name_ = parameter_of(headers, "name");
  if (name_ == "filename") {
    file_.name = parameter_of(headers, "filename");
    file_.path = spool_;
    out_.open(file_.path, std::ios::binary | std::ios::trunc);
    if (!out_) throw ApiError{500, "can't open the upload's file"};
    in_ = In::file;
  } else {
    if (name_.empty()) throw ApiError{400, "an upload part has no name"};
    if (headers.find(" filename=") != std::string::npos) {
      throw ApiError{
          500, fmt::format("wrong field name '{}' for file upload, expected 'filename'\n", name_)};
    }
    fields_[name_].emplace_back();
    in_ = In::field;
  }
  return true;
}

/// Up to the next delimiter; what might be its beginning waits for more.
bool MultipartParser::take_body() {
  const auto at = buffer_.find(delimiter_);
  const bool whole = at != std::string::npos;
  const auto keep = delimiter_.size() - 1;
  const auto count = whole ? at : buffer_.size() > keep ? buffer_.size() - keep : 0;
  const auto bytes = std::string_view{buffer_}.substr(0, count);
  if (in_ == In::file) {
    write_file(bytes);
  } else {
    auto& field = fields_[name_].back();
    field += bytes;
    if (field.size() > largest_field) throw ApiError{400, "an upload field is too long"};
  }
  buffer_.erase(0, count);
  if (!whole) return false;
  buffer_.erase(0, delimiter_.size());
  in_ = in_ == In::file ? In::done : In::headers;
  return true;
}

void MultipartParser::write_file(std::string_view bytes) {
  out_.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out_) throw ApiError{500, "writing the upload failed: No space left on device"};
  file_.size += bytes.size();
}

UploadedFile MultipartParser::finish() {
  if (in_ != In::done || file_.path.empty()) {
    throw ApiError{400, file_.path.empty() ? "upload without a file" : "upload was cut off"};
  }
  out_.close();
  if (!out_) throw ApiError{500, "writing the upload failed: No space left on device"};
  kept_ = true;
  return file_;
}

}  // namespace px::node
