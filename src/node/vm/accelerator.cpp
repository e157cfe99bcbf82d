#include "node/vm/accelerator.hpp"

#include "support/process.hpp"

#include <fstream>
#include <iterator>
#include <thread>
#include <unistd.h>

/// The boot sector of kvm_probe.S.
extern "C" const char px_kvm_probe_begin;
extern "C" const char px_kvm_probe_end;

namespace px::node {

namespace {

using namespace std::chrono_literals;

/// Firmware and the probe take 0.4 s under KVM, 0.6 s under emulation; many times that on a host
/// that is busy.
constexpr auto probe_limit = 10s;
/// What kvm_probe.S says at its end.
constexpr std::string_view last_words = "a guest runs";

std::string read_all(const std::filesystem::path& file) {
  std::ifstream in{file};
  return {std::istreambuf_iterator<char>{in}, {}};
}

}  // namespace

bool runs_guests(const std::string& binary, Accelerator accelerator,
                 const std::filesystem::path& directory) {
  const auto disk = directory / "probe.img";
  const auto said = directory / "probe.txt";
  const auto log = directory / "probe.log";
  std::ofstream{disk, std::ios::binary}.write(&px_kvm_probe_begin,
                                              &px_kvm_probe_end - &px_kvm_probe_begin);
  std::ofstream{said};
  auto process = Process::spawn(
      {binary, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc", "-accel",
       std::string{name_of(accelerator)}, "-m", "32", "-drive",
       "file=probe.img,format=raw,if=ide,snapshot=on", "-chardev", "file,id=said,path=probe.txt",
       "-device", "isa-debugcon,iobase=0x402,chardev=said"},
      directory, log);
  bool reached = false;
  bool gave_up = false;
  const auto limit = std::chrono::steady_clock::now() + probe_limit;
  while (!reached && !gave_up && process.alive() && std::chrono::steady_clock::now() < limit) {
    std::this_thread::sleep_for(10ms);
    reached = read_all(said).find(last_words) != std::string::npos;
    // QEMU itself stays, with a machine that stands still.
    gave_up = read_all(log).find("KVM internal error") != std::string::npos;
  }
  process.end();
  for (const auto& file : {disk, said, log}) std::filesystem::remove(file);
  return reached;
}

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
  const bool kvm = ::access("/dev/kvm", R_OK | W_OK) == 0 &&
                   runs_guests(binary, Accelerator::kvm, cache.parent_path());
  const auto found = kvm ? Accelerator::kvm : Accelerator::tcg;
  std::ofstream{cache} << key << name_of(found) << '\n';
  return found;
}

}  // namespace px::node
