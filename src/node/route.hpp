#pragma once
#include "support/async.hpp"
#include "support/json.hpp"

#include <cstdint>
#include <deque>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

/// Routes of the API: what parameters each takes, checked before its handler runs, and itself
/// checked against the real API's schema (tests/api).
namespace px::node {

/// An answer that is no 200. `message` is what Proxmox VE says; its first line becomes the reason.
class ApiError : public std::exception {
 public:
  explicit ApiError(int code, std::string text, std::map<std::string, std::string> by_param = {})
      : status{code}, message{std::move(text)}, errors{std::move(by_param)} {}
  /// 400 "Parameter verification failed." with one message.
  static ApiError parameter(std::string name, std::string text);
  const char* what() const noexcept override { return message.c_str(); }

  int status;
  std::string message;
  std::map<std::string, std::string> errors;
};

enum class ParamType : std::uint8_t { string, integer, number, boolean, array };

/// One parameter of a route, as api-schema.json has it.
struct Param {
  std::string name;  ///< `net[n]` stands for net0, net1, ...
  ParamType type = ParamType::string;
  bool required = false;
  std::optional<std::int64_t> minimum{};
  std::optional<std::int64_t> maximum{};
  std::optional<std::size_t> max_length{};
  std::vector<std::string> one_of{};
  std::string pattern{};  ///< an ECMAScript regular expression for the whole value
  std::string format{};   ///< a named format of the schema: pve-vmid, pve-storage-id...
  std::string needs{};    ///< a parameter that must be given beside this one (`requires`)
};

/// A file that a multipart request brought: spooled, not in memory.
struct UploadedFile {
  std::filesystem::path path;
  std::string name;
  std::uint64_t size = 0;
};

/// A request whose parameters were found good.
class Call {
 public:
  std::string user;  ///< root@pam, or a token root@pam!name
  std::string method;
  std::string path;  ///< without /api2/json
  std::map<std::string, std::vector<std::string>> values;
  std::optional<UploadedFile> file;

  bool has(std::string_view name) const;
  /// Throws ApiError 400 when it is missing, which a required parameter never is.
  const std::string& text(std::string_view name) const;
  std::string text_or(std::string_view name, std::string otherwise) const;
  std::int64_t number(std::string_view name) const;
  std::int64_t number_or(std::string_view name, std::int64_t otherwise) const;
  bool flag(std::string_view name, bool otherwise = false) const;
  std::vector<std::string> list(std::string_view name) const;
  /// The names in one value, which commas, semicolons or blanks separate: `delete`, `revert`.
  std::vector<std::string> words(std::string_view name) const;
  /// Answers `total` beside `data`.
  std::optional<std::int64_t> total;
};

/// What is wrong with a value, in Proxmox VE's words, or nothing.
std::string value_problem(const Param& param, const std::string& value);

/// The other end of a request that became a WebSocket.
class Messages {
 public:
  virtual ~Messages() = default;
  /// The next message, at most 128 KiB; nothing once the client has closed or is gone.
  virtual awaitable<std::optional<std::string>> receive() = 0;
  virtual awaitable<void> send(std::string bytes) = 0;
};

using Handler = std::function<awaitable<json::value>(Call&)>;

struct Route {
  std::string method;
  std::string path;           ///< "/nodes/{node}/qemu/{vmid}/config"
  std::vector<Param> params;  ///< beside those of the path
  Handler handler;
  /// Answered by the root daemon: counted against its three workers.
  bool is_protected = false;
  bool allow_token = true;
  /// Takes a file (multipart/form-data).
  bool takes_file = false;
  /// Works without a login.
  bool open = false;
  /// What follows the handler when the client asked for a WebSocket; the last end of it closes.
  std::function<awaitable<void>(Call&, Messages&)> conversation{};
};

class Router {
 public:
  void add(Route route);
  const std::deque<Route>& routes() const noexcept { return routes_; }

  /// The route, with the values of its path's parameters; nullptr when there is none.
  const Route* find(std::string_view method, std::string_view path,
                    std::map<std::string, std::string>& path_values) const;

 private:
  std::deque<Route> routes_;                        ///< never moved: calls that run refer to them
  std::vector<std::vector<std::string>> patterns_;  ///< their paths in pieces
};

/// Checks `given` against the route's table; fills `call.values`. Throws ApiError 400 with a
/// message for each bad parameter.
void check_parameters(const Route& route, const std::map<std::string, std::string>& path_values,
                      std::map<std::string, std::vector<std::string>> given, Call& call);

}  // namespace px::node
