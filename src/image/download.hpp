#pragma once
#include "image/file_sum.hpp"
#include "support/async.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

/// Files from the web into this machine's cache.
namespace px::image {

/// Whether a text is a URL (http, https) rather than a file's name.
bool is_url(std::string_view text) noexcept;

/// A URL for logs and errors: without a user's name, a password and the query, for secrets stand
/// there.
std::string shown_url(const std::string& url);

/// The name of the file that a URL leads to, of [A-Za-z0-9._-].
std::string file_name_of(const std::string& url);

struct Download {
  std::string url;
  std::optional<Checksum> checksum{};
  /// Bytes that are here and all of them (0: the server doesn't say).
  std::function<void(std::uint64_t done, std::uint64_t total)> progress{};
};

struct Downloaded {
  std::filesystem::path file;  ///< `downloads/.../NAME` in cache_directory()
  Checksum sum;                ///< the one that was asked for, else its SHA-256
};

/// The file behind a URL, in constant memory. With a checksum it is fetched once, and a transfer
/// that was interrupted goes on where it was; without one the server is asked each time whether it
/// has changed. Of several processes one fetches it, the others wait. It is there whole or not at
/// all. Certificates are verified (SSL_CERT_FILE names other authorities), proxies are those of the
/// environment, as `curl` has them. Being cancelled ends it.
///
/// Errors: bad_input (no such URL, 404 and other answers, a page of text instead of a file, another
/// checksum: with the one seen), unreachable, tls, rejected (no space left here).
awaitable<Downloaded> download(asio::thread_pool& pool, Download what);

}  // namespace px::image
