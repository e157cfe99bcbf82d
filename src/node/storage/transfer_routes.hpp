#pragma once
#include "node/storage/incoming_file.hpp"
#include "node/storage/storage_routes.hpp"

namespace px::node {

/// How files come into a storage: upload, download by the node itself, and what a URL leads to.
/// Source: pve-storage API2/Storage/Status.pm, pve-manager API2/Nodes.pm; exchanges 03 and 16.
class TransferRoutes : public std::enable_shared_from_this<TransferRoutes> {
 public:
  explicit TransferRoutes(StorageServices services) : services_{std::move(services)} {}
  void add_routes(Router& router);

 private:
  awaitable<json::value> upload(Call& call);
  awaitable<json::value> download_url(Call& call);
  awaitable<json::value> query_url(Call& call);
  awaitable<void> keep_upload(UploadedFile file, std::filesystem::path target, Checksum checksum,
                              TaskLog& log);

  StorageServices services_;
};

}  // namespace px::node
