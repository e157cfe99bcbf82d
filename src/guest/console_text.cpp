#include "guest/console_text.hpp"

#include <algorithm>
#include <deque>

namespace px::guest {

namespace {

constexpr std::size_t most_lines = 10;
constexpr std::size_t longest_line = 200;

constexpr char escape = '\x1B';
constexpr char bell = '\x07';

bool is_between(char c, char first, char last) {
  return c >= first && c <= last;
}

/// A terminal that knows one line: escape sequences have their length (ECMA-48), and no effect.
class Line {
 public:
  /// The line that `c` ended, or nothing.
  bool add(char c) {
    switch (in_) {
      case In::text:
        return add_text(c);
      case In::after_escape:
        if (c == '[') {
          in_ = In::control;
        } else if (c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_') {
          in_ = In::string;
        } else if (!is_between(c, '\x20', '\x2F')) {  // charset and the like have one more
          in_ = In::text;
        }
        return false;
      case In::control:
        if (!is_between(c, '\x20', '\x3F')) in_ = In::text;
        return false;
      case In::string:
        // Its end is a bell, or an escape and a backslash. A line's end is one, too: what was cut
        // off must not swallow the rest.
        if (c == bell) in_ = In::text;
        if (c == escape) in_ = In::after_escape;
        return c == '\n' && add_text(c);
    }
    return false;
  }

  std::string take() {
    const auto end = text_.find_last_not_of(' ');
    text_.resize(end == std::string::npos ? 0 : end + 1);
    return std::exchange(text_, {});
  }

 private:
  enum class In { text, after_escape, control, string };

  bool add_text(char c) {
    in_ = c == escape ? In::after_escape : In::text;
    if (c == '\n') {
      returned_ = false;
      return true;
    }
    if (c == '\r') {
      returned_ = true;
    } else if (c == '\b') {
      if (!text_.empty()) text_.pop_back();
    } else if (c == '\t' || is_between(c, ' ', '~')) {
      put(c == '\t' ? ' ' : c);
    } else if (const auto byte = static_cast<unsigned char>(c); byte >= 0xC0) {
      put('?');  // the first byte of a character; the others show nothing
    }
    return false;
  }

  void put(char c) {
    if (std::exchange(returned_, false)) text_.clear();
    if (text_.size() < longest_line) text_ += c;
  }

  In in_ = In::text;
  bool returned_ = false;  ///< to the line's start: what comes overwrites it
  std::string text_;
};

}  // namespace

std::vector<std::string> last_lines(std::string_view printed) {
  std::deque<std::string> lines;
  Line line;
  const auto keep = [&] {
    if (auto text = line.take(); !text.empty()) lines.push_back(std::move(text));
    if (lines.size() > most_lines) lines.pop_front();
  };
  for (const char c : printed) {
    if (line.add(c)) keep();
  }
  keep();
  return {lines.begin(), lines.end()};
}

}  // namespace px::guest
