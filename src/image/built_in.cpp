#include "image/built_in.hpp"

#include "support/error.hpp"

#include <boost/algorithm/string/replace.hpp>
#include <fmt/format.h>

#include <array>
#include <cstdlib>

namespace px::image {

namespace {

/// Like Inspect's default container (python:3.12-bookworm), which the existing provider's built-ins
/// followed: compilers, headers, and Python as people expect it.
constexpr std::string_view build_tools =
    "build-essential autoconf automake libtool bzip2 file patch unzip git wget imagemagick "
    "libbz2-dev libcurl4-openssl-dev libdb-dev libevent-dev libffi-dev libgdbm-dev libglib2.0-dev "
    "libgmp-dev libjpeg-dev libkrb5-dev liblzma-dev libncurses-dev libpng-dev libpq-dev "
    "libreadline-dev libsqlite3-dev libssl-dev libwebp-dev libxml2-dev libxslt1-dev libyaml-dev "
    "zlib1g-dev python3-pip python3-venv python-is-python3";

constexpr std::string_view by_hand =
    "Download URL where there is a network, then: proxmox-sandbox image add NAME --from FILE";

// The sums are those that the distributions publish beside the files (SHA256SUMS, SHA512SUMS).
constexpr std::array<BuiltIn, 4> all_built_ins{{
    {.name = "debian13-small",
     .file = "debian13-small.qcow2",
     .how = "`make image` in a checkout of Proxmox Sandbox builds it",
     .user = "user"},
    {.name = "debian13",
     .file = "debian13.qcow2",
     .how = "`guest-images/build.sh debian13` in a checkout of Proxmox Sandbox builds one. Or: "
            "download URL where there is a network, then: proxmox-sandbox image add NAME --from "
            "FILE",
     .user = "debian",
     .url = "https://cloud.debian.org/images/cloud/trixie/20260831-2587/"
            "debian-13-generic-amd64-20260831-2587.qcow2",
     .kind = HashKind::sha512,
     .sum = "5a069019420fb9441ad4f8004c661fadb747edd5662ca54a17c8f923dee7d717"
            "e21dbdaa4ba72d6fce7f920e0217f0a9af382298a7d46ed4bc9dc33ac19181b6",
     .needs_first_boot = true,
     .packages = build_tools},
    {.name = "ubuntu24.04",
     .file = "ubuntu24.04.img",
     .how = by_hand,
     .user = "ubuntu",
     .url = "https://cloud-images.ubuntu.com/releases/noble/release-20260814/"
            "ubuntu-24.04-server-cloudimg-amd64.img",
     .sum = "6e40c07ae715f744f84af0bec76415cc1987dd115b4b8de437818561f01a3733",
     .needs_first_boot = true,
     .packages = build_tools},
    {.name = "kali2025.4",
     .file = "kali2025.4.img",
     .how = by_hand,
     .user = "kali",
     .url = "https://kali.download/cloud-images/kali-2025.4/"
            "kali-linux-2025.4-cloud-genericcloud-amd64.tar.xz",
     .sum = "649f20a4703f2324c0a5fa286a9260a5eb98d7f5d554d9aa179f284e8338fe8f",
     .is_plain = false,
     .needs_first_boot = true,
     .packages = build_tools},
}};

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::span<const BuiltIn> built_ins() {
  return all_built_ins;
}

const BuiltIn& find_built_in(std::string_view name) {
  std::vector<std::string_view> names;
  for (const auto& built_in : all_built_ins) {
    if (built_in.name == name) return built_in;
    names.push_back(built_in.name);
  }
  throw_bad_input("vm_source_config.built_in", name,
                  fmt::format("the built-ins of this version are: {}", fmt::join(names, ", ")));
}

std::filesystem::path cache_directory() {
  const std::string cache = variable("XDG_CACHE_HOME");
  const std::filesystem::path base = cache.empty()
                                         ? std::filesystem::path{variable("HOME")} / ".cache"
                                         : std::filesystem::path{cache};
  return base / "proxmox-sandbox";
}

std::vector<std::filesystem::path> image_directories() {
  std::vector<std::filesystem::path> out;
  const std::string list = variable("PROXMOX_SANDBOX_IMAGES");
  for (std::size_t at = 0; at < list.size();) {
    const auto colon = std::min(list.find(':', at), list.size());
    if (colon > at) out.emplace_back(list.substr(at, colon - at));
    at = colon + 1;
  }
  out.push_back(cache_directory() / "images");
  return out;
}

std::optional<std::filesystem::path> file_of(const BuiltIn& built_in) {
  for (const auto& directory : image_directories()) {
    std::error_code error;
    auto file = directory / built_in.file;
    if (std::filesystem::is_regular_file(file, error)) return file;
  }
  return std::nullopt;
}

Error missing_file(const BuiltIn& built_in, std::string_view node, std::string_view why) {
  std::vector<std::string> directories;
  for (const auto& directory : image_directories()) directories.push_back(directory.string());
  auto said = fmt::format(
      "vm_source_config.built_in: there is no template of {} on node {}, and no file {} in {}",
      built_in.name, node, built_in.file, fmt::join(directories, " or "));
  if (!why.empty()) said += fmt::format("; {}", why);
  auto how = boost::algorithm::replace_all_copy(std::string{built_in.how}, "NAME", built_in.name);
  boost::algorithm::replace_all(how, "URL", built_in.url);
  return Error{Errc::not_found, std::move(said)}.with_hint(
      fmt::format("{}; PROXMOX_SANDBOX_IMAGES names its directory.", how));
}

}  // namespace px::image
