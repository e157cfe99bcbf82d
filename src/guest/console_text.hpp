#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace px::guest {

/// The last lines of what a guest printed on its console, for a person: at most 10 of at most 200
/// characters. Escape sequences are gone, a line that was overwritten shows its last state, empty
/// lines are left out, and what is not printable ASCII is `?`. Takes any bytes: the guest, so the
/// model, chooses them.
std::vector<std::string> last_lines(std::string_view printed);

}  // namespace px::guest
