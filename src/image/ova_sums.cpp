#include "image/ova.hpp"
#include "support/bytes.hpp"
#include "support/error.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace px::image {

namespace {

constexpr std::size_t piece_bytes = 1U << 20U;

/// The sums of the member that is being read.
class MemberCheck {
 public:
  MemberCheck(const Appliance& appliance, const Member& member)
      : appliance_{appliance}, member_{member} {
    const auto it = std::ranges::find(appliance.manifest, member.name, &ManifestEntry::file);
    if (it == appliance.manifest.end()) return;
    entry_ = &*it;
    if (entry_->kind != HashKind::sha256) other_.emplace(entry_->kind);
  }

  void update(std::string_view piece) {
    sha256_.update(piece);
    if (other_) other_->update(piece);
  }

  /// Throws when the manifest says otherwise.
  MemberSum end() {
    MemberSum out{member_.name, sha256_.hex()};
    if (entry_ == nullptr) return out;
    const auto found = other_ ? other_->hex() : out.sha256;
    if (found == entry_->hex) return out;
    throw Error{Errc::bad_input,
                fmt::format("{}: member {} at offset {}: its {} sum is {}, the manifest says {}",
                            appliance_.path.filename().string(), member_.name, member_.offset,
                            name_of(entry_->kind), found, entry_->hex)}
        .with_hint("The file was changed or damaged on its way: get it again.");
  }

 private:
  const Appliance& appliance_;
  const Member& member_;
  const ManifestEntry* entry_ = nullptr;
  Sha256 sha256_;
  std::optional<Hash> other_;
};

/// Reads a file to its end in pieces.
template <class Take>
void read_through(const Window& file, std::uint64_t size, const Take& take) {
  for (std::uint64_t at = 0; at < size;) {
    const auto piece =
        file.read(at, static_cast<std::size_t>(std::min<std::uint64_t>(piece_bytes, size - at)));
    if (piece.empty()) {
      throw Error{Errc::bad_input,
                  fmt::format("{}: it ends at offset {}, and had {} bytes before: it was changed",
                              file.name(), at, size)};
    }
    take(at, piece);
    at += piece.size();
  }
}

/// Cuts an OVA's bytes into its members, as they come.
class MemberSums {
 public:
  explicit MemberSums(const Appliance& appliance) : appliance_{appliance} {}

  void update(std::uint64_t at, std::string_view piece) {
    for (; next_ < appliance_.members.size(); finish()) {
      const auto& member = appliance_.members[next_];
      const auto begin = std::max(member.offset, at);
      const auto end = std::min(member.offset + member.size, at + piece.size());
      if (member.offset >= at + piece.size()) return;
      if (!check_) check_.emplace(appliance_, member);
      if (begin < end) check_->update(piece.substr(begin - at, end - begin));
      if (member.offset + member.size > at + piece.size()) return;
    }
  }

  std::vector<MemberSum> end() {
    // Empty members at the very end.
    while (next_ < appliance_.members.size()) finish();
    return std::move(sums_);
  }

 private:
  void finish() {
    if (!check_) check_.emplace(appliance_, appliance_.members[next_]);
    sums_.push_back(check_->end());
    check_.reset();
    ++next_;
  }

  const Appliance& appliance_;
  std::size_t next_ = 0;
  std::optional<MemberCheck> check_{};
  std::vector<MemberSum> sums_{};
};

OvaSums check_packed(const Appliance& appliance, const CheckProgress& progress) {
  const auto file = Window::of_file(appliance.path);
  Sha256 whole;
  MemberSums members{appliance};
  read_through(file, file.size(), [&](std::uint64_t at, std::string_view piece) {
    whole.update(piece);
    members.update(at, piece);
    if (progress) progress(at + piece.size(), file.size());
  });
  return {whole.hex(), members.end()};
}

OvaSums check_folder(const Appliance& appliance, const CheckProgress& progress) {
  std::uint64_t total = 0;
  for (const auto& member : appliance.members) total += member.size;
  OvaSums out;
  std::uint64_t done = 0;
  Sha256 whole;
  for (const auto& member : appliance.members) {
    MemberCheck check{appliance, member};
    const auto file = Window::of_file(appliance.path.parent_path() / member.name);
    read_through(file, member.size, [&](std::uint64_t, std::string_view piece) {
      check.update(piece);
      done += piece.size();
      if (progress) progress(done, total);
    });
    out.members.push_back(check.end());
    whole.update(fmt::format("{}  {}\n", out.members.back().sha256, member.name));
  }
  out.sha256 = whole.hex();
  return out;
}

}  // namespace

OvaSums check_ova(const Appliance& appliance, const CheckProgress& progress) {
  return appliance.packed ? check_packed(appliance, progress) : check_folder(appliance, progress);
}

}  // namespace px::image
