#include "image/ovf_values.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <boost/algorithm/string/erase.hpp>
#include <boost/algorithm/string/trim.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <span>
#include <utility>

namespace px::image {

namespace {

using Word = std::pair<std::string_view, std::string_view>;

std::string lower(std::string_view text) {
  return boost::to_lower_copy(boost::trim_copy(std::string{text}));
}

/// The first word that is in `text`.
std::optional<std::string_view> find_word(std::span<const Word> words, std::string_view text) {
  for (const auto& [word, meaning] : words) {
    if (text.find(word) != std::string_view::npos) return meaning;
  }
  return std::nullopt;
}

// --- units ---------------------------------------------------------------------------------------

constexpr std::uint64_t most_bytes = std::uint64_t{1} << 63U;

std::optional<std::uint64_t> number_of(std::string_view text) {
  std::uint64_t out = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return out;
}

std::optional<std::uint64_t> times(std::uint64_t a, std::uint64_t b) {
  std::uint64_t out = 0;
  if (__builtin_mul_overflow(a, b, &out) || out > most_bytes) return std::nullopt;
  return out;
}

/// `2^20` or `1024`.
std::optional<std::uint64_t> factor_of(std::string_view text) {
  const auto hat = text.find('^');
  const auto base = number_of(text.substr(0, hat));
  if (!base || hat == std::string_view::npos) return base;
  const auto exponent = number_of(text.substr(hat + 1));
  if (!exponent || *exponent > 63) return std::nullopt;
  std::optional<std::uint64_t> out = 1;
  for (std::uint64_t i = 0; i < *exponent && out; ++i) out = times(*out, *base);
  return out;
}

// --- operating systems ---------------------------------------------------------------------------

// Tried in this order on a name without blanks, marks, "Microsoft" and "Server". Names: VMware's
// VirtualMachineGuestOsIdentifier, VirtualBox's VBoxManage list ostypes, oVirt's
// osinfo-defaults.properties. VMware calls Windows 10 "windows9", Server 2022 "2019srvNext" and
// Server 2025 "2022srvNext".
constexpr std::array windows_names{
    Word{"windows98", "other"},
    Word{"windows95", "other"},
    Word{"windows31", "other"},
    Word{"windowsme", "other"},
    Word{"windowsnt", "other"},
    Word{"winnt", "other"},
    Word{"windows2025", "win11"},
    Word{"windows2022", "win11"},
    Word{"windows2019srvnext", "win11"},
    Word{"windows2019", "win10"},
    Word{"windows2016", "win10"},
    Word{"windows2012", "win8"},
    Word{"windows2008r2", "win7"},
    Word{"windows2008", "w2k8"},
    Word{"windows2003", "w2k3"},
    Word{"windows2000", "w2k"},
    Word{"windows11", "win11"},
    Word{"windows12", "win11"},
    Word{"windows10", "win10"},
    Word{"windows9", "win10"},
    Word{"windows8", "win8"},
    Word{"windows7", "win7"},
    Word{"windowsvista", "wvista"},
    Word{"winvista", "wvista"},
    Word{"winlonghorn", "w2k8"},
    Word{"winnet", "w2k3"},
    Word{"windowsxp", "wxp"},
    Word{"winxp", "wxp"},
    Word{"win2000", "w2k"},
};

constexpr std::array other_names{
    Word{"linux24", "l24"},     Word{"linux22", "l24"}, Word{"other24xlinux", "l24"},
    Word{"solaris", "solaris"}, Word{"linux", "l26"},   Word{"ubuntu", "l26"},
    Word{"debian", "l26"},      Word{"rhel", "l26"},    Word{"redhat", "l26"},
    Word{"centos", "l26"},      Word{"fedora", "l26"},  Word{"suse", "l26"},
    Word{"sles", "l26"},        Word{"rocky", "l26"},   Word{"oracle", "l26"},
    Word{"mandr", "l26"},       Word{"gentoo", "l26"},  Word{"photon", "l26"},
    Word{"coreos", "l26"},      Word{"asianux", "l26"}, Word{"xandros", "l26"},
    Word{"kali", "l26"},        Word{"bsd", "other"},   Word{"darwin", "other"},
    Word{"dos", "other"},       Word{"os2", "other"},   Word{"netware", "other"},
};

struct IdRange {
  std::uint64_t first;
  std::uint64_t last;
  std::string_view type;
};

// CIM_OperatingSystem.OsType (DMTF CIM schema 2.55).
constexpr std::array os_ids{
    IdRange{29, 29, "solaris"}, IdRange{36, 36, "l26"},     IdRange{58, 58, "w2k"},
    IdRange{67, 67, "wxp"},     IdRange{69, 70, "w2k3"},    IdRange{71, 72, "wxp"},
    IdRange{73, 74, "wvista"},  IdRange{75, 75, "wxp"},     IdRange{76, 77, "w2k8"},
    IdRange{79, 80, "l26"},     IdRange{81, 81, "solaris"}, IdRange{82, 85, "l26"},
    IdRange{87, 87, "l26"},     IdRange{89, 96, "l26"},     IdRange{97, 98, "l24"},
    IdRange{99, 101, "l26"},    IdRange{103, 103, "win7"},  IdRange{105, 105, "win7"},
    IdRange{106, 109, "l26"},   IdRange{112, 115, "win8"},  IdRange{116, 116, "win10"},
    IdRange{117, 118, "win8"},  IdRange{119, 121, "win10"}, IdRange{122, 123, "win11"},
};

// --- devices -------------------------------------------------------------------------------------

constexpr std::array nic_names{
    Word{"vmxnet3", "vmxnet3"}, Word{"e1000e", "e1000e"}, Word{"82574", "e1000e"},
    Word{"e1000", "e1000"},     Word{"8254", "e1000"},    Word{"virtio", "virtio"},
    Word{"pcnet", "pcnet"},     Word{"am79c97", "pcnet"}, Word{"8139", "rtl8139"},
};

// oVirt's VmInterfaceType by number.
constexpr std::array ovirt_nics{Word{"0", "rtl8139"}, Word{"1", "rtl8139"}, Word{"2", "e1000"},
                                Word{"3", "virtio"}, Word{"6", "e1000e"}};

constexpr std::array bus_names{
    Word{"nvme", "nvme"},        Word{"ahci", "sata"},        Word{"sata", "sata"},
    Word{"virtio-scsi", "scsi"}, Word{"virtio_scsi", "scsi"}, Word{"virtioscsi", "scsi"},
    Word{"virtio", "virtio"},    Word{"virtualscsi", "scsi"}, Word{"lsilogic", "scsi"},
    Word{"buslogic", "scsi"},    Word{"sas", "scsi"},         Word{"scsi", "scsi"},
    Word{"piix", "ide"},         Word{"ide", "ide"},
};

}  // namespace

std::optional<std::uint64_t> bytes_of_unit(std::string_view unit) {
  auto text = lower(unit);
  boost::erase_all(text, " ");
  if (text.size() > 1 && text.ends_with('s')) text.pop_back();
  constexpr std::array names{
      std::pair{"", 0U},          std::pair{"byte", 0U},      std::pair{"b", 0U},
      std::pair{"kilobyte", 10U}, std::pair{"kb", 10U},       std::pair{"kib", 10U},
      std::pair{"mb", 20U},       std::pair{"megabyte", 20U}, std::pair{"mib", 20U},
      std::pair{"gigabyte", 30U}, std::pair{"gb", 30U},       std::pair{"gib", 30U},
      std::pair{"terabyte", 40U}, std::pair{"tb", 40U},       std::pair{"tib", 40U}};
  for (const auto& [name, shift] : names) {
    if (text == name) return std::uint64_t{1} << shift;
  }
  auto rest = std::string_view{text};
  if (!rest.starts_with("byte")) return std::nullopt;
  rest.remove_prefix(rest.starts_with("bytes") ? 5 : 4);
  std::optional<std::uint64_t> out = 1;
  while (!rest.empty() && out) {
    if (rest.front() != '*') return std::nullopt;
    rest.remove_prefix(1);
    const auto end = std::min(rest.find('*'), rest.size());
    const auto factor = factor_of(rest.substr(0, end));
    if (!factor || *factor == 0) return std::nullopt;
    out = times(*out, *factor);
    rest.remove_prefix(end);
  }
  return out;
}

std::optional<std::string_view> os_type_of_name(std::string_view name) {
  auto text = lower(name);
  std::erase_if(text, [](unsigned char c) { return std::isalnum(c) == 0; });
  boost::erase_all(text, "microsoft");
  boost::erase_all(text, "server");
  if (const auto windows = find_word(windows_names, text)) return windows;
  return find_word(other_names, text);
}

std::string_view os_type_of_id(std::uint64_t id) {
  const auto* found = std::ranges::find_if(
      os_ids, [&](const IdRange& range) { return range.first <= id && id <= range.last; });
  return found == os_ids.end() ? "other" : found->type;
}

std::optional<std::string_view> nic_model_of(std::string_view sub_type, bool ovirt) {
  const auto text = lower(sub_type);
  if (ovirt) {
    for (const auto& [number, model] : ovirt_nics) {
      if (text == number) return model;
    }
    if (text == "pv") return "virtio";
  }
  return find_word(nic_names, text);
}

std::optional<std::string_view> bus_of(std::uint64_t type, std::string_view sub_type) {
  switch (type) {
    case ide_controller:
      return "ide";
    case scsi_controller:
    case fibre_channel_controller:
    case iscsi_controller:
      return "scsi";
    case other_storage:
      if (const auto named = find_word(bus_names, lower(sub_type))) return named;
      return "sata";
    case not_said:
    case disk_drive:
    case logical_disk:
      return find_word(bus_names, lower(sub_type));
    default:
      return std::nullopt;
  }
}

}  // namespace px::image
