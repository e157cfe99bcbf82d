#pragma once
#include <filesystem>
#include <utility>

namespace px::node {

/// A file or folder that goes with its owner, unless it was given another name meanwhile.
class TemporaryPath {
 public:
  explicit TemporaryPath(std::filesystem::path at) : path{std::move(at)} {}
  ~TemporaryPath() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  TemporaryPath(const TemporaryPath&) = delete;
  TemporaryPath& operator=(const TemporaryPath&) = delete;

  const std::filesystem::path path;
};

}  // namespace px::node
