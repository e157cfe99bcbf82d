#pragma once
#include "node/route.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <regex>
#include <string>
#include <vector>

namespace px::node {

/// Something that goes wrong on purpose, for tests.
struct Fault {
  enum class Action : std::uint8_t {
    answer,       ///< `status` and `message` instead of acting
    drop_before,  ///< the connection breaks, nothing was done
    drop_after,   ///< it was done, the answer is lost
    delay,        ///< by `delay`, then as usual
    duplicate,    ///< done twice, answered once
    call,         ///< `call`, then as usual; of a test in the node's own process
  };
  Action action = Action::answer;
  std::string pattern = ".*";  ///< regular expression for "METHOD PATH"
  int nth = 1;                 ///< the how manyeth fitting request from now on; 1 = the next
  int status = 500;
  std::string message = "fault";
  std::chrono::milliseconds delay{0};
  std::function<void()> call{};
};

/// The dials of a node for tests, and its counters.
class Faults {
 public:
  void add(Fault fault);
  void clear();
  /// Counts a request and tells what is to go wrong with it.
  std::optional<Fault> next(const std::string& method, const std::string& path,
                            const std::string& route);

  /// "METHOD /route/{pattern}" -> how many.
  const std::map<std::string, std::uint64_t>& requests() const noexcept { return requests_; }
  std::uint64_t total() const noexcept { return total_; }
  void reset_counters();

  /// /_control/...: only for nodes that were started with `--control`.
  void add_routes(Router& router);

 private:
  struct Armed {
    Fault fault;
    std::regex pattern;
    int seen = 0;
  };
  std::vector<Armed> armed_;
  std::map<std::string, std::uint64_t> requests_;
  std::uint64_t total_ = 0;
};

}  // namespace px::node
