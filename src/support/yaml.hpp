#pragma once
#include "support/json.hpp"

#include <string_view>

/// YAML as JSON, for files that people write.
namespace px::yaml {

/// The value of a document. Plain scalars are numbers, true, false and null where YAML's core
/// schema says so (YAML 1.2.2 section 10.3.2), quoted ones texts. Throws Error{bad_input} with the
/// line and column of the mistake; `what` names the text.
json::value parse(std::string_view text, std::string_view what);

}  // namespace px::yaml
