#pragma once
#include "support/async.hpp"

#include <string>
#include <string_view>

/// Images that a configuration names by their URL.
namespace px::sandbox {

/// Whether a configuration (JSON, as parse_spec() takes it) names any.
bool names_web_sources(std::string_view spec_json);

/// The configuration without those URLs that this machine has to fetch itself: their files in the
/// cache stand instead. A URL stays where a checksum tells the content and its server sends parts
/// of files: parse_spec() reads the headers alone then, and the Proxmox server downloads it.
/// Without a checksum the one seen goes to the log. Errors: those of image::download().
awaitable<std::string> fetch_sources(asio::thread_pool& pool, std::string spec_json);

}  // namespace px::sandbox
