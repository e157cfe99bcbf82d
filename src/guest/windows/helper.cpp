#include "guest/windows/helper.hpp"

#include "support/bytes.hpp"

#include <fmt/format.h>

#ifdef PX_WINDOWS_HELPER
__asm__(
    ".pushsection .rodata\n"
    ".hidden px_windows_helper\n"
    ".hidden px_windows_helper_end\n"
    ".globl px_windows_helper\n"
    ".globl px_windows_helper_end\n"
    "px_windows_helper: .incbin \"" PX_WINDOWS_HELPER
    "\"\n"
    "px_windows_helper_end:\n"
    ".popsection\n");
extern "C" const char px_windows_helper[];
extern "C" const char px_windows_helper_end[];
#endif

namespace px::guest::windows_guest {

std::string_view helper_program() {
#ifdef PX_WINDOWS_HELPER
  return {px_windows_helper, static_cast<std::size_t>(px_windows_helper_end - px_windows_helper)};
#else
  return {};
#endif
}

const std::string& helper_path() {
  static const std::string path = fmt::format("{}\\proxmox-sandbox-{}.exe", helper_directory,
                                              sha256_hex(helper_program()).substr(0, 16));
  return path;
}

}  // namespace px::guest::windows_guest
