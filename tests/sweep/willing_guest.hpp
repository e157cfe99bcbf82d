#pragma once
#include "node/vm/simulated_machine.hpp"

namespace px::testing {

/// Whatever a command is, it ends well: the answer of src/guest/linux/scripts.hpp.
class WillingGuest : public node::SimulatedGuest {
 public:
  node::ExecAnswer run(node::SimulatedState& /*state*/, const std::vector<std::string>& /*argv*/,
                       const std::string& /*input*/) override {
    return {0, "x 0 boot \n", "", {}};
  }
};

}  // namespace px::testing
