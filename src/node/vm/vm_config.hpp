#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// A VM's configuration as Proxmox VE keeps it: options by name, changes that wait for the next
/// start, and one set of options for each snapshot. (pve-guest-common AbstractConfig.pm)
namespace px::node {

/// Option name -> text, as in the file. Numbers too are kept as text.
using Options = std::map<std::string, std::string>;

struct VmConfig {
  Options current;
  /// Values that the next start sets.
  Options pending;
  /// Options that the next start removes.
  std::vector<std::string> pending_delete;
  /// By name; each with `snaptime`, and perhaps `parent`, `vmstate`, `description`.
  std::map<std::string, Options> snapshots;
  /// What the image of the cloud-init drive was made of. (PVE's section holds what differs.)
  Options cloud_init;

  /// Throws Error{bad_input} naming the line.
  static VmConfig parse(std::string_view text);
  std::string print() const;
  /// 40 hexadecimal digits that change whenever the file does.
  std::string digest() const;

  bool has_pending() const { return !pending.empty() || !pending_delete.empty(); }
  void drop_pending() {
    pending.clear();
    pending_delete.clear();
  }
  /// The options after the next start.
  Options after_pending() const;
};

/// An option's text, or `otherwise`.
std::string option_or(const Options& options, const std::string& name, std::string otherwise = {});
/// Whether the guest is a Windows (`ostype`).
bool is_windows(const Options& options);
/// A number option; Error{bad_input} when it is none.
std::int64_t number_option(const Options& options, const std::string& name, std::int64_t otherwise);

/// `a,key=value,...`: Proxmox VE's property strings. A word without a key stands under "".
class Properties {
 public:
  Properties() = default;
  explicit Properties(std::string_view text);

  std::string get(std::string_view key, std::string otherwise = {}) const;
  bool has(std::string_view key) const;
  /// A boolean: 1, on, yes or true.
  bool flag(std::string_view key) const;
  void set(std::string_view key, std::string value);
  void erase(std::string_view key);
  /// The word without a key first, the rest by key: the order in which PVE prints them.
  std::string print() const;
  const std::vector<std::pair<std::string, std::string>>& items() const { return items_; }

 private:
  std::vector<std::pair<std::string, std::string>> items_;
};

/// One drive option: `scsi0: local:100/vm-100-disk-0.qcow2,size=1536M`.
struct Drive {
  std::string name;       ///< scsi0, ide2, virtio1, sata0, efidisk0, tpmstate0
  std::string volume;     ///< volume id, `none`, or what a request puts there (`local:8`)
  Properties properties;  ///< the rest

  /// Throws Error{bad_input} ("unable to parse drive options").
  static Drive parse(const std::string& name, std::string_view text);
  std::string print() const;

  bool is_cdrom() const { return properties.get("media") == "cdrom"; }
  bool is_empty() const { return volume == "none"; }
  /// Holds what the machine remembers (efidisk0, tpmstate0): no disk for the guest.
  bool is_state() const { return bus() == "efidisk" || bus() == "tpmstate"; }
  std::string bus() const;
  int index() const;
};

/// Whether an option of this name is a drive (scsi0..30, ide0..3, sata0..5, virtio0..15, efidisk0,
/// tpmstate0).
bool is_drive_option(std::string_view name);
/// The drives of a configuration, in the order of their names' numbers.
std::vector<Drive> drives_of(const Options& options);

/// Bytes of `10G`, `1536M`, `4444K`, `512`; nothing when it is no size.
std::optional<std::uint64_t> parse_size(std::string_view text);
/// As PVE prints: in the largest unit that divides it.
std::string print_size(std::uint64_t bytes);

/// Order of option names that people expect: scsi2 before scsi10.
bool natural_less(std::string_view left, std::string_view right);

}  // namespace px::node
