// An OVA from outside: what it describes is told, or it is refused.
#include "node/storage/ova.hpp"

#include <filesystem>
#include <fstream>
#include <unistd.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto path =
      std::filesystem::temp_directory_path() / ("px-fuzz-ova-" + std::to_string(::getpid()));
  std::ofstream{path, std::ios::binary}.write(reinterpret_cast<const char*>(data),
                                              static_cast<std::streamsize>(size));
  try {
    px::node::describe_ova(path, "local:import/box.ova");
  } catch (const px::Error&) {
  }
  return 0;
}
