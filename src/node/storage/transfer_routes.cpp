#include "node/storage/transfer_routes.hpp"

#include "node/storage/download.hpp"

namespace px::node {

namespace {

namespace fs = std::filesystem;

std::vector<Param> checksum_params() {
  return {{.name = "checksum", .needs = "checksum-algorithm"},
          {.name = "checksum-algorithm",
           .one_of = {"md5", "sha1", "sha224", "sha256", "sha384", "sha512"},
           .needs = "checksum"}};
}

/// The schema lists none, the real server refuses others (pve-storage Plugin.pm).
void check_compression(const std::string& name) {
  if (name.empty() || name == "gz" || name == "lzo" || name == "zst" || name == "bz2") return;
  throw ApiError::parameter("compression",
                            fmt::format("value '{}' does not have a value in the enumeration 'gz, "
                                        "lzo, zst, bz2'",
                                        name));
}

std::vector<Param> with_checksum(std::vector<Param> params) {
  for (auto& param : checksum_params()) params.push_back(std::move(param));
  return params;
}

}  // namespace

void TransferRoutes::add_routes(Router& router) {
  using enum ParamType;
  const auto bind = [self = shared_from_this()](
                        awaitable<json::value> (TransferRoutes::*handler)(Call&)) -> Handler {
    return [self, handler](Call& call) { return (self.get()->*handler)(call); };
  };
  const Param content{.name = "content", .required = true, .one_of = {"iso", "vztmpl", "import"}};
  const Param filename{.name = "filename", .required = true, .max_length = 255};
  const Param url{.name = "url", .required = true, .pattern = "https?://.*"};
  const Param certificates{.name = "verify-certificates", .type = boolean};
  router.add({.method = "POST",
              .path = "/nodes/{node}/storage/{storage}/upload",
              .params = with_checksum({content, filename}),
              .handler = bind(&TransferRoutes::upload),
              .is_protected = true,
              .takes_file = true});
  router.add(
      {.method = "POST",
       .path = "/nodes/{node}/storage/{storage}/download-url",
       .params = with_checksum({content, filename, url, certificates, {.name = "compression"}}),
       .handler = bind(&TransferRoutes::download_url),
       .is_protected = true});
  router.add({.method = "GET",
              .path = "/nodes/{node}/query-url-metadata",
              .params = {url, certificates},
              .handler = bind(&TransferRoutes::query_url)});
}

awaitable<json::value> TransferRoutes::upload(Call& call) {
  const auto& storage = services_.storages.get(call.text("storage"));
  const auto& content = call.text("content");
  if (!storage.holds(content)) {
    throw ApiError{500,
                   fmt::format("storage '{}' does not support '{}' content", storage.id, content)};
  }
  const auto name = clean_file_name(call.file->name);
  check_file_name(content, name);
  co_return json::value(services_.tasks.start(
      "imgcopy", "", call.user,
      [self = shared_from_this(), file = *call.file, target = storage.folder_of(content) / name,
       checksum = Checksum::of(call)](TaskLog& log) {
        return self->keep_upload(file, target, checksum, log);
      }));
}

awaitable<void> TransferRoutes::keep_upload(UploadedFile file, fs::path target, Checksum checksum,
                                            TaskLog& log) {
  log.line(fmt::format("starting file import from: {}", file.path.string()));
  const bool promised = !checksum.digest.empty();
  if (promised) log.line("calculating checksum...");
  try {
    co_await run_in_pool(services_.threads, [&] {
      if (promised) verify(checksum, file.path);
      check_contents(services_.disks, file.path, target.filename().string());
    });
  } catch (...) {
    fs::remove(file.path);
    throw;
  }
  if (promised) log.lines.back() += "OK, checksum verified";
  log.line(fmt::format("target node: {}", services_.node));
  log.line(fmt::format("target file: {}", target.string()));
  log.line(fmt::format("file size is: {}", file.size));
  // Beside the old file: who has that one open keeps its bytes.
  fs::rename(file.path, target);
  log.line("finished file import successfully");
}

awaitable<json::value> TransferRoutes::download_url(Call& call) {
  const auto& storage = services_.storages.get(call.text("storage"));
  const auto& content = call.text("content");
  if (!storage.holds(content)) {
    throw ApiError{500, fmt::format("storage '{}' is not configured for content-type '{}'",
                                    storage.id, content)};
  }
  const auto name = clean_file_name(call.text("filename"));
  check_file_name(content, name);
  check_compression(call.text_or("compression", ""));
  Download download{.url = call.text("url"),
                    .content = content,
                    .target = storage.folder_of(content) / name,
                    .spool = services_.storages.spool_folder(),
                    .checksum = Checksum::of(call),
                    .compression = call.text_or("compression", ""),
                    .verify_certificates = call.flag("verify-certificates", true)};
  co_return json::value(services_.tasks.start(
      "download", name, call.user,
      [self = shared_from_this(), download = std::move(download)](TaskLog& log) {
        return run_download(download, self->services_.disks, self->services_.threads, log);
      }));
}

awaitable<json::value> TransferRoutes::query_url(Call& call) {
  co_return co_await run_in_pool(
      services_.threads,
      [url = call.text("url"), verified = call.flag("verify-certificates", true)] {
        return json::value(describe_url(url, verified));
      });
}

}  // namespace px::node
