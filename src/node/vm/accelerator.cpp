#include "node/vm/accelerator.hpp"

#include "support/process.hpp"

#include <fstream>
#include <iterator>
#include <thread>
#include <unistd.h>

namespace px::node {

namespace {

using namespace std::chrono_literals;

constexpr auto probe_limit = 2s;
/// What SeaBIOS says on its debug port when it has run through and found no disk.
constexpr std::string_view last_words = "No bootable device";

std::string read_all(const std::filesystem::path& file) {
  std::ifstream in{file};
  return {std::istreambuf_iterator<char>{in}, {}};
}

bool boots_under_kvm(const std::string& binary, const std::filesystem::path& directory) {
  if (::access("/dev/kvm", R_OK | W_OK) != 0) return false;
  const auto said = directory / "kvm-probe.txt";
  std::filesystem::remove(said);
  auto process = Process::spawn(
      {binary, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc", "-accel",
       "kvm", "-cpu", "host", "-m", "32", "-chardev", "file,id=said,path=kvm-probe.txt", "-device",
       "isa-debugcon,iobase=0x402,chardev=said"},
      directory, directory / "kvm-probe.log");
  bool reached = false;
  const auto limit = std::chrono::steady_clock::now() + probe_limit;
  while (!reached && process.alive() && std::chrono::steady_clock::now() < limit) {
    std::this_thread::sleep_for(10ms);
    reached = read_all(said).find(last_words) != std::string::npos;
  }
  process.kill();
  while (process.alive()) std::this_thread::sleep_for(1ms);
  std::filesystem::remove(said);
  std::filesystem::remove(directory / "kvm-probe.log");
  return reached;
}

}  // namespace

std::string installed_qemu_version(const std::string& binary) {
  std::string said;
  try {
    said = run_tool({binary, "--version"}).output;
  } catch (const Error&) {
    // Told below.
  }
  constexpr std::string_view before = "version ";
  const auto start = said.find(before);
  if (start == std::string::npos) {
    throw Error{Errc::unsupported, fmt::format("{} does not run", binary)}.with_hint(
        "Install QEMU (Debian, Ubuntu: qemu-system-x86 and qemu-utils).");
  }
  const auto from = start + before.size();
  return said.substr(from, said.find_first_of(" \n(", from) - from);
}

Accelerator probe_accelerator(const std::string& binary, const std::string& version,
                              const std::filesystem::path& cache) {
  std::string boot = read_all("/proc/sys/kernel/random/boot_id");
  while (boot.ends_with('\n')) boot.pop_back();
  const std::string key = fmt::format("{} {} ", version, boot);
  const std::string known = read_all(cache);
  if (known.starts_with(key)) {
    return known.substr(key.size()) == "kvm\n" ? Accelerator::kvm : Accelerator::tcg;
  }
  const auto found =
      boots_under_kvm(binary, cache.parent_path()) ? Accelerator::kvm : Accelerator::tcg;
  std::ofstream{cache} << key << name_of(found) << '\n';
  return found;
}

}  // namespace px::node
