#include "node/vm/cpu_option.hpp"

#include "support/error.hpp"

#include <boost/algorithm/string/classification.hpp>
#include <boost/algorithm/string/split.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

namespace px::node {

namespace {

using Names = std::set<std::string, std::less<>>;

const Names& models() {
  static const Names names{"486",
                           "Broadwell",
                           "Broadwell-IBRS",
                           "Broadwell-noTSX",
                           "Broadwell-noTSX-IBRS",
                           "Cascadelake-Server",
                           "Cascadelake-Server-noTSX",
                           "Cascadelake-Server-v2",
                           "Cascadelake-Server-v4",
                           "Cascadelake-Server-v5",
                           "ClearwaterForest",
                           "Conroe",
                           "Cooperlake",
                           "Cooperlake-v2",
                           "EPYC",
                           "EPYC-Genoa",
                           "EPYC-Genoa-v2",
                           "EPYC-IBPB",
                           "EPYC-Milan",
                           "EPYC-Milan-v2",
                           "EPYC-Milan-v3",
                           "EPYC-Rome",
                           "EPYC-Rome-v2",
                           "EPYC-Rome-v3",
                           "EPYC-Rome-v4",
                           "EPYC-Rome-v5",
                           "EPYC-Turin",
                           "EPYC-v3",
                           "EPYC-v4",
                           "EPYC-v5",
                           "GraniteRapids",
                           "GraniteRapids-v2",
                           "GraniteRapids-v3",
                           "Haswell",
                           "Haswell-IBRS",
                           "Haswell-noTSX",
                           "Haswell-noTSX-IBRS",
                           "Icelake-Client",
                           "Icelake-Client-noTSX",
                           "Icelake-Server",
                           "Icelake-Server-noTSX",
                           "Icelake-Server-v3",
                           "Icelake-Server-v4",
                           "Icelake-Server-v5",
                           "Icelake-Server-v6",
                           "Icelake-Server-v7",
                           "IvyBridge",
                           "IvyBridge-IBRS",
                           "KnightsMill",
                           "Nehalem",
                           "Nehalem-IBRS",
                           "Opteron_G1",
                           "Opteron_G2",
                           "Opteron_G3",
                           "Opteron_G4",
                           "Opteron_G5",
                           "Penryn",
                           "SandyBridge",
                           "SandyBridge-IBRS",
                           "SapphireRapids",
                           "SapphireRapids-v2",
                           "SapphireRapids-v3",
                           "SapphireRapids-v4",
                           "SierraForest",
                           "SierraForest-v2",
                           "SierraForest-v3",
                           "Skylake-Client",
                           "Skylake-Client-IBRS",
                           "Skylake-Client-noTSX-IBRS",
                           "Skylake-Client-v4",
                           "Skylake-Server",
                           "Skylake-Server-IBRS",
                           "Skylake-Server-noTSX-IBRS",
                           "Skylake-Server-v4",
                           "Skylake-Server-v5",
                           "Westmere",
                           "Westmere-IBRS",
                           "athlon",
                           "core2duo",
                           "coreduo",
                           "host",
                           "kvm32",
                           "kvm64",
                           "max",
                           "pentium",
                           "pentium2",
                           "pentium3",
                           "phenom",
                           "qemu32",
                           "qemu64",
                           "x86-64-v2",
                           "x86-64-v2-AES",
                           "x86-64-v3",
                           "x86-64-v4"};
  return names;
}

/// Flags that a VM's own option may name.
const Names& vm_flags() {
  static const Names names{"aes",       "amd-no-ssb", "amd-ssbd",    "hv-evmcs", "hv-tlbflush",
                           "ibpb",      "md-clear",   "nested-virt", "pcid",     "pdpe1gb",
                           "spec-ctrl", "ssbd",       "virt-ssbd"};
  return names;
}

std::vector<std::string> flags_of(const Properties& cpu) {
  std::vector<std::string> flags;
  const std::string text = cpu.get("flags");
  if (!text.empty()) boost::split(flags, text, boost::is_any_of(";"));
  return flags;
}

std::string model_argument(const std::string& model, bool kvm) {
  // QEMU before 8 lacks PVE's x86-64-vN models; the flags are qemu-server's (CPUConfig.pm).
  static const std::map<std::string, std::string> levels{
      {"x86-64-v2", "qemu64,+popcnt,+pni,+sse4.1,+sse4.2,+ssse3"},
      {"x86-64-v2-AES", "qemu64,+aes,+popcnt,+pni,+sse4.1,+sse4.2,+ssse3"},
      {"x86-64-v3", "max"},
      {"x86-64-v4", "max"},
      // There never was such a client CPU.
      {"Icelake-Client", "Icelake-Server"},
      {"Icelake-Client-noTSX", "Icelake-Server-noTSX"}};
  if (model == "host" || model == "max") return kvm ? "host" : "max";
  if (model == "kvm64" && !kvm) return "qemu64";
  const auto level = levels.find(model);
  return level == levels.end() ? model : level->second;
}

}  // namespace

std::string cpu_problem(const std::string& text) {
  const Properties cpu{text};
  const std::string model = cpu.get("", cpu.get("cputype"));
  if (model.empty()) return "CPU is missing cputype";
  if (model.starts_with("custom-")) {
    return fmt::format("Custom cputype '{}' not found", model.substr(7));
  }
  if (!models().contains(model)) {
    return fmt::format("Built-in cputype '{}' is not defined (missing 'custom-' prefix?)", model);
  }
  for (const auto& flag : flags_of(cpu)) {
    if (!vm_flags().contains(flag.substr(1))) {
      return fmt::format("VM-specific CPU flags must be a subset of: {}",
                         fmt::join(vm_flags(), ", "));
    }
  }
  if (cpu.has("reported-model")) {
    return "Property 'reported-model' not allowed in VM-specific CPU config.";
  }
  return {};
}

std::string cpu_argument(const Options& options, bool kvm) {
  const Properties cpu{option_or(options, "cpu", "kvm64")};
  std::string out = model_argument(cpu.get("", cpu.get("cputype", "kvm64")), kvm);
  if (cpu.has("level")) out += ",level=" + cpu.get("level");
  for (const auto& flag : flags_of(cpu)) {
    // Which of the two the host has is not known here; QEMU only warns of the other.
    out +=
        flag.substr(1) == "nested-virt" ? fmt::format(",{0}svm,{0}vmx", flag.front()) : "," + flag;
  }
  if (cpu.flag("hidden")) out += ",kvm=off";
  if (cpu.has("hv-vendor-id")) out += ",hv-vendor-id=" + cpu.get("hv-vendor-id");
  if (cpu.has("guest-phys-bits")) out += ",guest-phys-bits=" + cpu.get("guest-phys-bits");
  if (const std::string bits = cpu.get("phys-bits"); !bits.empty()) {
    out += bits == "host" ? ",host-phys-bits=true" : ",phys-bits=" + bits;
  }
  return out;
}

}  // namespace px::node
