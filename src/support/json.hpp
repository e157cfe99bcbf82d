#pragma once
#include "support/error.hpp"

#include <boost/json.hpp>

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

/// JSON <-> struct, and forgiving readers for what Proxmox VE sends (numbers as strings, booleans
/// as 1/0/"1" or absent: pve-facts section 2).
///
/// A struct says its fields once:
///   template <class V> void describe(V& visit, Point& p) { visit("x", p.x); visit("y", p.y); }
/// found by argument-dependent lookup. A field that the JSON lacks keeps the struct's default.
namespace px::json {

namespace bj = boost::json;
using bj::array;
using bj::object;
using bj::value;

/// Throws Error{bad_input} with the line and column of the mistake; `what` names the text.
value parse(std::string_view text, std::string_view what);

/// nullptr when `v` is no object or lacks `key` (or holds null there).
const value* find(const value& v, std::string_view key) noexcept;

/// Readers of a server's answer: the wanted type or something that means it; else Error{protocol}
/// naming the key. The *_or forms return the default when the key is absent or null.
std::string text_at(const value& v, std::string_view key);
std::string text_or(const value& v, std::string_view key, std::string_view otherwise = {});
std::int64_t number_at(const value& v, std::string_view key);
std::int64_t number_or(const value& v, std::string_view key, std::int64_t otherwise);
double real_or(const value& v, std::string_view key, double otherwise);
bool flag_or(const value& v, std::string_view key, bool otherwise);

/// The known name nearest to `wrong` by edit distance, or empty when none is near.
std::string nearest(std::string_view wrong, const std::vector<std::string_view>& known);

namespace detail {

[[noreturn]] void fail_type(const std::string& path, std::string_view wanted, const value& got);
[[noreturn]] void fail_unknown(const std::string& path, std::string_view key,
                               const std::vector<std::string_view>& known);

template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};
template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};

template <class T>
void read(T& out, const value& v, const std::string& path);

/// Visits a struct's fields while reading an object.
struct FieldReader {
  const object& from;
  const std::string& path;
  std::vector<std::string_view> known{};

  template <class T>
  void operator()(std::string_view name, T& field) {
    known.push_back(name);
    const auto it = from.find(name);
    if (it == from.end()) return;
    read(field, it->value(), path.empty() ? std::string{name} : path + "." + std::string{name});
  }
};

struct FieldWriter {
  object& to;
  template <class T>
  void operator()(std::string_view name, const T& field);
};

template <class T>
void read(T& out, const value& v, const std::string& path) {
  if constexpr (is_optional<T>::value) {
    if (v.is_null()) {
      out.reset();
    } else {
      read(out.emplace(), v, path);
    }
  } else if constexpr (is_vector<T>::value) {
    if (!v.is_array()) fail_type(path, "a list", v);
    out.clear();
    for (std::size_t i = 0; i < v.get_array().size(); ++i) {
      read(out.emplace_back(), v.get_array()[i], path + "[" + std::to_string(i) + "]");
    }
  } else if constexpr (std::is_same_v<T, value>) {
    out = v;
  } else if constexpr (std::is_same_v<T, object>) {
    if (!v.is_object()) fail_type(path, "an object", v);
    out = v.get_object();
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!v.is_bool()) fail_type(path, "true or false", v);
    out = v.get_bool();
  } else if constexpr (std::integral<T>) {
    if (!v.is_int64() || !std::in_range<T>(v.get_int64())) fail_type(path, "a whole number", v);
    out = static_cast<T>(v.get_int64());
  } else if constexpr (std::is_same_v<T, double>) {
    if (!v.is_number()) fail_type(path, "a number", v);
    out = v.to_number<double>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!v.is_string()) fail_type(path, "a text", v);
    out = std::string{v.get_string()};
  } else if constexpr (requires { from_text(std::string{}, out); }) {
    if (!v.is_string()) fail_type(path, "a text", v);
    from_text(std::string{v.get_string()}, out);
  } else {
    if (!v.is_object()) fail_type(path, "an object", v);
    FieldReader reader{v.get_object(), path};
    describe(reader, out);
    for (const auto& [key, unused] : v.get_object()) {
      bool is_known = false;
      for (const auto name : reader.known) is_known = is_known || name == key;
      if (!is_known) fail_unknown(path, key, reader.known);
    }
  }
}

template <class T>
value write(const T& in) {
  if constexpr (is_optional<T>::value) {
    return in ? write(*in) : value{nullptr};
  } else if constexpr (is_vector<T>::value) {
    array out;
    for (const auto& item : in) out.push_back(write(item));
    return out;
  } else if constexpr (std::is_constructible_v<value, const T&>) {
    return value(in);
  } else {
    object out;
    FieldWriter writer{out};
    // describe() takes a mutable struct so that one function serves both ways.
    describe(writer, const_cast<T&>(in));
    return out;
  }
}

template <class T>
void FieldWriter::operator()(std::string_view name, const T& field) {
  to[name] = write(field);
}

}  // namespace detail

/// Fills a T. Wrong types and unknown keys throw Error{bad_input} with the path and, for a key,
/// the nearest known name.
template <class T>
T to(const value& v, const std::string& path = {}) {
  T out{};
  detail::read(out, v, path);
  return out;
}

/// Reads over what `out` holds: what the JSON lacks stays.
template <class T>
void read_over(T& out, const value& v, const std::string& path = {}) {
  detail::read(out, v, path);
}

template <class T>
value from(const T& in) {
  return detail::write(in);
}

}  // namespace px::json
