#include "pve/agent.hpp"

#include "pve/qemu.hpp"
#include "support/bytes.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>

#include <algorithm>

namespace px::pve::agent {

namespace {

constexpr std::uint64_t most_at_once = 16u << 20;  ///< of file-read
constexpr std::size_t most_input = 65536;
constexpr std::size_t most_content = 61440;
/// From here on a read holds its worker so long that only two may run at once.
constexpr std::uint64_t bulk_from = 128u << 10;

std::string path_of(const VmRef& vm, std::string_view command) {
  return qemu::path_of(vm, fmt::format("/agent/{}", command));
}

/// Servers before 9.1.5 refuse the parameters that they don't know.
bool knows_no_offset(const Error& error) {
  return error.kind == Errc::rejected &&
         std::ranges::any_of(error.parameters, [](const auto& parameter) {
           return parameter.second.find("not defined in schema") != std::string::npos;
         });
}

awaitable<FilePiece> read_by_offset(Client& client, const VmRef& vm, const std::string& path,
                                    std::uint64_t offset, std::uint64_t count,
                                    CallOptions options) {
  Params query;
  query.add("file", path).add("offset", offset).add("count", count).add("decode", false);
  const auto data =
      co_await client.get(path_of(vm, "file-read"), std::move(query), std::move(options));
  FilePiece piece;
  piece.truncated = json::flag_or(data, "truncated", false);
  const auto* content = json::find(data, "content");
  if (content == nullptr || !content->is_string()) co_return piece;
  piece.bytes = decode_pieces(content->get_string());
  co_return piece;
}

awaitable<FilePiece> read_whole(Client& client, const VmRef& vm, const std::string& path,
                                std::uint64_t offset, std::uint64_t count, CallOptions options) {
  options.load = Load::bulk_read;
  const auto data =
      co_await client.get(path_of(vm, "file-read"), Params{}.add("file", path), std::move(options));
  const bool is_cut = json::flag_or(data, "truncated", false);
  auto bytes = utf8_to_latin1(json::text_or(data, "content"));
  if (is_cut && offset + count > bytes.size()) {
    throw Error{
        Errc::unsupported,
        fmt::format("{}: this server reads only the first {} bytes of a file", path, bytes.size())}
        .with_hint("Proxmox VE 9.1 reads on from there");
  }
  FilePiece piece;
  piece.truncated = is_cut || offset + count < bytes.size();
  if (offset < bytes.size()) piece.bytes = bytes.substr(offset, count);
  co_return piece;
}

}  // namespace

std::string decode_pieces(std::string_view base64) {
  std::string bytes;
  bytes.reserve(base64.size() / 4 * 3);
  while (!base64.empty()) {
    // A piece ends with its padding, at a multiple of four.
    const auto padding = base64.find('=');
    const auto size = padding == std::string_view::npos ? base64.size() : padding / 4 * 4 + 4;
    bytes += from_base64(base64.substr(0, size));
    base64.remove_prefix(std::min(size, base64.size()));
  }
  return bytes;
}

awaitable<void> ping(Client& client, VmRef vm, CallOptions options) {
  options.repeatable = true;
  co_await client.post(path_of(vm, "ping"), {}, std::move(options));
}

awaitable<std::int64_t> exec(Client& client, VmRef vm, std::vector<std::string> argv,
                             std::string input, CallOptions options) {
  const auto is_ascii = [](const std::string& text) {
    return std::ranges::all_of(text, [](char c) { return c > 0; });
  };
  if (argv.empty() || !std::ranges::all_of(argv, is_ascii) || input.size() > most_input) {
    throw Error{Errc::internal, "the agent takes 1 or more ASCII arguments and 64 KiB of input"};
  }
  Params params;
  params.add_list("command", std::move(argv));
  if (!input.empty()) params.add_bytes("input-data", input);
  const auto data =
      co_await client.post(path_of(vm, "exec"), std::move(params), std::move(options));
  co_return json::number_at(data, "pid");
}

awaitable<ExecStatus> exec_status(Client& client, VmRef vm, std::int64_t pid, CallOptions options) {
  const auto data =
      co_await client.get(path_of(vm, "exec-status"), Params{}.add("pid", pid), std::move(options));
  ExecStatus status;
  status.exited = json::flag_or(data, "exited", false);
  if (json::find(data, "exitcode") != nullptr) {
    status.exit_code = static_cast<int>(json::number_at(data, "exitcode"));
  }
  if (json::find(data, "signal") != nullptr) {
    status.signal = static_cast<int>(json::number_at(data, "signal"));
  }
  status.out = utf8_to_latin1(json::text_or(data, "out-data"));
  status.err = utf8_to_latin1(json::text_or(data, "err-data"));
  status.out_truncated = json::flag_or(data, "out-truncated", false);
  status.err_truncated = json::flag_or(data, "err-truncated", false);
  co_return status;
}

awaitable<FilePiece> read_file(Client& client, VmRef vm, std::string path, std::uint64_t offset,
                               std::uint64_t count, CallOptions options) {
  count = std::clamp<std::uint64_t>(count, 1, most_at_once);
  if (count >= bulk_from) options.load = Load::bulk_read;
  if (client.reads_by_offset.value_or(true)) {
    try {
      auto piece = co_await read_by_offset(client, vm, path, offset, count, options);
      client.reads_by_offset = true;
      co_return piece;
    } catch (const Error& e) {
      if (!knows_no_offset(e)) throw;
      client.reads_by_offset = false;
    }
  }
  co_return co_await read_whole(client, vm, path, offset, count, options);
}

awaitable<void> write_file(Client& client, VmRef vm, std::string path, std::string bytes,
                           CallOptions options) {
  if (bytes.size() > most_content) {
    throw Error{Errc::internal, fmt::format("the agent writes at most {} bytes", most_content)};
  }
  options.repeatable = true;
  Params params;
  params.add("file", path).add_bytes("content", bytes);
  co_await client.post(path_of(vm, "file-write"), std::move(params), std::move(options));
}

awaitable<std::vector<Interface>> interfaces(Client& client, VmRef vm, CallOptions options) {
  const auto data =
      co_await client.get(path_of(vm, "network-get-interfaces"), {}, std::move(options));
  std::vector<Interface> out;
  const auto* result = json::find(data, "result");
  if (result == nullptr || !result->is_array()) co_return out;
  for (const auto& entry : result->get_array()) {
    const auto mac = json::text_or(entry, "hardware-address");
    Interface item{json::text_or(entry, "name"), boost::algorithm::to_upper_copy(mac), {}};
    if (const auto* list = json::find(entry, "ip-addresses"); list != nullptr && list->is_array()) {
      for (const auto& address : list->get_array()) {
        item.addresses.push_back(json::text_or(address, "ip-address"));
      }
    }
    out.push_back(std::move(item));
  }
  co_return out;
}

}  // namespace px::pve::agent
