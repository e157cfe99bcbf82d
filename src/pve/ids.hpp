#pragma once
#include <fmt/format.h>

#include <compare>
#include <concepts>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

/// The names of things on a Proxmox VE server, as types. Each is made only by parse(), which
/// throws Error{bad_input} naming the text and the rule. Rules: pve-common JSONSchema.pm and
/// UPID.pm, pve-storage Plugin.pm.
namespace px::pve {

/// The id of a VM: 100..999'999'999.
class Vmid {
 public:
  static Vmid parse(std::string_view text);
  static Vmid from_number(std::int64_t number);
  constexpr std::uint32_t number() const noexcept { return number_; }
  std::string text() const { return std::to_string(number_); }
  friend auto operator<=>(const Vmid&, const Vmid&) = default;

 private:
  explicit constexpr Vmid(std::uint32_t number) : number_{number} {}
  std::uint32_t number_;
};

/// The name of a cluster node: a DNS label of 1..63 letters, digits and inner hyphens.
class NodeName {
 public:
  static NodeName parse(std::string_view text);
  const std::string& text() const noexcept { return text_; }
  friend auto operator<=>(const NodeName&, const NodeName&) = default;

 private:
  explicit NodeName(std::string text) : text_{std::move(text)} {}
  std::string text_;
};

/// The id of a storage: a letter, then letters, digits, `-`, `_`, `.`; ends with a letter or digit.
class StorageId {
 public:
  static StorageId parse(std::string_view text);
  const std::string& text() const noexcept { return text_; }
  friend auto operator<=>(const StorageId&, const StorageId&) = default;

 private:
  explicit StorageId(std::string text) : text_{std::move(text)} {}
  std::string text_;
};

/// A volume: `STORAGE:REST`, for example `local:iso/a.iso` or `local-lvm:vm-100-disk-0`.
class VolumeId {
 public:
  static VolumeId parse(std::string_view text);
  static VolumeId of(const StorageId& storage, std::string_view rest);
  StorageId storage() const { return storage_; }
  std::string_view rest() const noexcept {
    return std::string_view{text_}.substr(storage_.text().size() + 1);
  }
  const std::string& text() const noexcept { return text_; }
  friend auto operator<=>(const VolumeId&, const VolumeId&) = default;

 private:
  VolumeId(StorageId storage, std::string text)
      : storage_{std::move(storage)}, text_{std::move(text)} {}
  StorageId storage_;
  std::string text_;
};

/// The id of a task: `UPID:NODE:PID:PSTART:STARTTIME:TYPE:ID:USER:`, numbers in hexadecimal.
class Upid {
 public:
  static Upid parse(std::string_view text);
  const std::string& text() const noexcept { return text_; }
  const NodeName& node() const noexcept { return node_; }
  /// Seconds since 1970 by the server's clock.
  std::int64_t start_time() const noexcept { return start_time_; }
  /// Surely before a task of the same node: by the ticks of its process, for a start has whole
  /// seconds; and by both, for ticks begin anew when the node restarts.
  bool started_before(const Upid& other) const noexcept {
    return start_ticks_ < other.start_ticks_ && start_time_ <= other.start_time_;
  }
  const std::string& type() const noexcept { return type_; }  ///< `qmclone`, `imgcopy`...
  const std::string& id() const noexcept { return id_; }      ///< mostly a VMID; may be empty
  const std::string& user() const noexcept { return user_; }  ///< `root@pam` or `root@pam!token`
  friend bool operator==(const Upid& a, const Upid& b) { return a.text_ == b.text_; }
  friend auto operator<=>(const Upid& a, const Upid& b) { return a.text_ <=> b.text_; }

 private:
  explicit Upid(NodeName node) : node_{std::move(node)} {}
  NodeName node_;
  std::string text_;
  std::uint64_t start_ticks_ = 0;
  std::int64_t start_time_ = 0;
  std::string type_;
  std::string id_;
  std::string user_;
};

/// The id of an SDN zone or VNet: a letter, then letters and digits, 2..8 characters. A VNet's is
/// its bridge's name on the nodes, too. Rule: pve-network, pve-facts section 11.
template <class Kind>
class SdnId {
 public:
  static SdnId parse(std::string_view text);
  const std::string& text() const noexcept { return text_; }
  friend auto operator<=>(const SdnId&, const SdnId&) = default;

 private:
  explicit SdnId(std::string text) : text_{std::move(text)} {}
  std::string text_;
};
using ZoneId = SdnId<struct ZoneKind>;
using VnetId = SdnId<struct VnetKind>;

/// A VM and the node it lives on.
struct VmRef {
  NodeName node;
  Vmid vmid;
  friend auto operator<=>(const VmRef&, const VmRef&) = default;
};

/// True for types of this file, which print as their text.
template <class T>
concept NameOfThing = requires(const T& t) {
  { T::parse(std::string_view{}) } -> std::same_as<T>;
  { t.text() } -> std::convertible_to<std::string>;
};

}  // namespace px::pve

template <px::pve::NameOfThing T>
struct fmt::formatter<T> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const T& name, Context& context) const {
    return fmt::formatter<std::string_view>::format(std::string{name.text()}, context);
  }
};

template <px::pve::NameOfThing T>
struct std::hash<T> {
  std::size_t operator()(const T& name) const noexcept {
    return std::hash<std::string>{}(name.text());
  }
};
