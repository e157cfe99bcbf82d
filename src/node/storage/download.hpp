#pragma once
#include "node/storage/incoming_file.hpp"
#include "node/tasks.hpp"

namespace px::node {

/// One file that the node fetches by itself, with `wget` as Proxmox VE does: its words stand in
/// the task's log and end.
struct Download {
  std::string url;
  std::string content;           ///< iso, import, vztmpl
  std::filesystem::path target;  ///< refused when it is there
  std::filesystem::path spool;   ///< a folder on the target's file system, for the unfinished file
  Checksum checksum{};
  std::string compression{};  ///< gz, zst or bz2: what to undo afterwards; ISO files only
  bool verify_certificates = true;
};

/// Throws ApiError 500 with the task's end; nothing is left of a download that failed or was
/// cancelled.
awaitable<void> run_download(Download download, Disks& disks, asio::thread_pool& threads,
                             TaskLog& log);

/// What a URL leads to: `filename`, `size`, `mimetype`, as far as the server says. Blocks. Throws
/// ApiError 500 "invalid server response: ...".
json::object describe_url(const std::string& url, bool verify_certificates);

}  // namespace px::node
