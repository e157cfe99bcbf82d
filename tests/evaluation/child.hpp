#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <sys/types.h>
#include <vector>

namespace px::testing {

/// A program under way, with both outputs in a file. Killed at the latest when this goes.
class Child {
 public:
  /// `more`: variables besides our own environment, or in place of its.
  Child(const std::vector<std::string>& argv, const std::map<std::string, std::string>& more,
        std::filesystem::path output);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const noexcept { return pid_; }
  /// Waits for its end; its exit status, or 128 + N after signal N.
  int wait();
  /// Both outputs so far.
  std::string output() const;

 private:
  std::filesystem::path output_;
  pid_t pid_ = 0;
};

}  // namespace px::testing
