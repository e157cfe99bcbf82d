#pragma once
#include "support/error.hpp"

#include <cstdlib>
#include <filesystem>

namespace px::testing {

/// A directory of its own, removed at the end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    auto text = (std::filesystem::temp_directory_path() / "px-test-XXXXXX").string();
    if (::mkdtemp(text.data()) == nullptr) throw Error{Errc::internal, "mkdtemp failed"};
    path_ = text;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace px::testing
