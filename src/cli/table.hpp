#pragma once
#include <boost/json.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace px::cli {

/// Text in aligned columns, for people. ASCII.
class Table {
 public:
  explicit Table(std::vector<std::string> heading) : rows_{} {
    rows_.push_back(std::move(heading));
  }
  /// As many cells as the heading; an empty one is shown as `-`.
  void add(std::vector<std::string> row);
  bool empty() const noexcept { return rows_.size() == 1; }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// For JSON: null for an empty text.
boost::json::value text_or_null(std::string_view text);

/// "45 s", "12 min", "3 h", "2 d".
std::string age_text(std::size_t seconds);

}  // namespace px::cli
