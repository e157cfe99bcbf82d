#pragma once
#include <string>
#include <utility>

namespace px {

/// A text that never prints: no stream operator, no formatter, no JSON conversion.
/// The one way to its content is reveal(), so every use can be found by searching for it.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string text) : text_{std::move(text)} {}

  const std::string& reveal() const noexcept { return text_; }
  bool empty() const noexcept { return text_.empty(); }

 private:
  std::string text_;
};

}  // namespace px
