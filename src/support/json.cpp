#include "support/json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <numeric>

namespace px::json {

namespace {

std::string_view kind_name(const value& v) {
  switch (v.kind()) {
    case bj::kind::null:
      return "null";
    case bj::kind::bool_:
      return "true or false";
    case bj::kind::int64:
    case bj::kind::uint64:
    case bj::kind::double_:
      return "a number";
    case bj::kind::string:
      return "a text";
    case bj::kind::array:
      return "a list";
    case bj::kind::object:
      return "an object";
  }
  return "something";
}

[[noreturn]] void fail_answer(std::string_view key, std::string_view wanted, const value* got) {
  throw Error{Errc::protocol, fmt::format("the answer's \"{}\" should be {} and is {}", key, wanted,
                                          got == nullptr ? "missing" : kind_name(*got))};
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t substitute = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substitute, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

std::optional<std::int64_t> as_number(const value& v) {
  if (v.is_int64()) return v.get_int64();
  if (v.is_bool()) return v.get_bool() ? 1 : 0;
  if (v.is_double()) return static_cast<std::int64_t>(v.get_double());
  if (v.is_string()) {
    const std::string_view text = v.get_string();
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc{} && end == text.data() + text.size()) return number;
  }
  return std::nullopt;
}

}  // namespace

value parse(std::string_view text, std::string_view what) {
  bj::stream_parser parser;
  boost::system::error_code error;
  const std::size_t read = parser.write_some(text, error);
  if (!error) parser.finish(error);
  if (!error && read < text.size()) error = bj::make_error_code(bj::error::extra_data);
  if (error) {
    const auto before = text.substr(0, std::min(read, text.size()));
    const auto line = std::count(before.begin(), before.end(), '\n') + 1;
    const auto last = before.rfind('\n');
    const auto column = before.size() - (last == std::string_view::npos ? 0 : last + 1) + 1;
    throw Error{Errc::bad_input, fmt::format("{}: not valid JSON at line {}, column {}: {}", what,
                                             line, column, error.message())};
  }
  return parser.release();
}

const value* find(const value& v, std::string_view key) noexcept {
  if (!v.is_object()) return nullptr;
  const auto it = v.get_object().find(key);
  return it == v.get_object().end() || it->value().is_null() ? nullptr : &it->value();
}

std::string text_at(const value& v, std::string_view key) {
  const value* found = find(v, key);
  if (found == nullptr) fail_answer(key, "a text", found);
  if (found->is_string()) return std::string{found->get_string()};
  if (const auto number = as_number(*found)) return std::to_string(*number);
  fail_answer(key, "a text", found);
}

std::string text_or(const value& v, std::string_view key, std::string_view otherwise) {
  return find(v, key) == nullptr ? std::string{otherwise} : text_at(v, key);
}

std::int64_t number_at(const value& v, std::string_view key) {
  const value* found = find(v, key);
  const auto number = found == nullptr ? std::nullopt : as_number(*found);
  if (!number) fail_answer(key, "a number", found);
  return *number;
}

std::int64_t number_or(const value& v, std::string_view key, std::int64_t otherwise) {
  return find(v, key) == nullptr ? otherwise : number_at(v, key);
}

double real_or(const value& v, std::string_view key, double otherwise) {
  const value* found = find(v, key);
  if (found == nullptr) return otherwise;
  if (found->is_number()) return found->to_number<double>();
  fail_answer(key, "a number", found);
}

bool flag_or(const value& v, std::string_view key, bool otherwise) {
  return find(v, key) == nullptr ? otherwise : number_at(v, key) != 0;
}

std::string nearest(std::string_view wrong, const std::vector<std::string_view>& known) {
  std::string_view best;
  std::size_t best_distance = std::max<std::size_t>(2, wrong.size() / 3) + 1;
  for (const auto name : known) {
    const auto distance = edit_distance(wrong, name);
    if (distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  return std::string{best};
}

namespace detail {

void fail_type(const std::string& path, std::string_view wanted, const value& got) {
  throw Error{Errc::bad_input,
              fmt::format("{}: should be {} and is {}", path, wanted, kind_name(got))};
}

void fail_unknown(const std::string& path, std::string_view key,
                  const std::vector<std::string_view>& known) {
  const std::string full = path.empty() ? std::string{key} : fmt::format("{}.{}", path, key);
  const std::string guess = nearest(key, known);
  throw Error{Errc::bad_input,
              guess.empty()
                  ? fmt::format("{}: is not a known field", full)
                  : fmt::format("{}: is not a known field; did you mean \"{}\"?", full, guess)};
}

}  // namespace detail

}  // namespace px::json
