#pragma once
#include "node/storage/storages.hpp"
#include "node/tasks.hpp"
#include "node/vm/disks.hpp"

namespace px::node {

/// What all routes of the storages share.
struct StorageServices {
  const Storages& storages;
  Tasks& tasks;
  Disks& disks;
  asio::thread_pool& threads;
  std::string node;
};

/// /storage and /nodes/{node}/storage: the storages, their volumes, and what is said of them.
/// Source: pve-storage API2/Storage/{Content,Status}.pm; exchange 03.
class StorageRoutes : public std::enable_shared_from_this<StorageRoutes> {
 public:
  explicit StorageRoutes(StorageServices services) : services_{std::move(services)} {}
  void add_routes(Router& router);

 private:
  Volume named(const Call& call) const;
  json::object summary(const Storage& storage) const;
  std::vector<json::value> list_files(const Storage& storage, const std::string& content) const;
  awaitable<json::value> list(Call& call);
  awaitable<json::value> configuration(Call& call);
  awaitable<json::value> status(Call& call);
  awaitable<json::value> content(Call& call);
  awaitable<json::value> volume(Call& call);
  awaitable<json::value> import_metadata(Call& call);
  awaitable<json::value> update(Call& call);
  awaitable<json::value> remove(Call& call);

  StorageServices services_;
};

}  // namespace px::node
