#include "node/access.hpp"

#include "support/bytes.hpp"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <charconv>
#include <chrono>
#include <fstream>

namespace px::node {

namespace {

constexpr std::int64_t ticket_life = 2 * 60 * 60;  // seconds (pve-access-control)
constexpr std::int64_t clock_skew = 5 * 60;
constexpr std::string_view root = "root@pam";

std::int64_t now() {
  return std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
}

bool same(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string random_uuid() {
  const auto hex = random_hex(32);
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4),
                     hex.substr(16, 4), hex.substr(20));
}

/// The text behind a key of the state, made by `make` at the first start.
template <class F>
Secret kept(State& state, std::string_view name, F make) {
  auto text = state.read(name);
  if (!text || text->empty()) {
    text = make();
    state.write(name, *text);
  }
  return Secret{std::move(*text)};
}

/// All rights that a client may ask about (pve-access-control AccessControl.pm).
constexpr std::array<std::string_view, 38> privileges{"Datastore.Allocate",
                                                      "Datastore.AllocateSpace",
                                                      "Datastore.AllocateTemplate",
                                                      "Datastore.Audit",
                                                      "Group.Allocate",
                                                      "Mapping.Audit",
                                                      "Mapping.Modify",
                                                      "Mapping.Use",
                                                      "Permissions.Modify",
                                                      "Pool.Allocate",
                                                      "Pool.Audit",
                                                      "Realm.Allocate",
                                                      "Realm.AllocateUser",
                                                      "SDN.Allocate",
                                                      "SDN.Audit",
                                                      "SDN.Use",
                                                      "Sys.AccessNetwork",
                                                      "Sys.Audit",
                                                      "Sys.Console",
                                                      "Sys.Incoming",
                                                      "Sys.Modify",
                                                      "Sys.PowerMgmt",
                                                      "Sys.Syslog",
                                                      "User.Modify",
                                                      "VM.Allocate",
                                                      "VM.Audit",
                                                      "VM.Backup",
                                                      "VM.Clone",
                                                      "VM.Config.CDROM",
                                                      "VM.Config.CPU",
                                                      "VM.Config.Cloudinit",
                                                      "VM.Config.Disk",
                                                      "VM.Config.HWType",
                                                      "VM.Config.Memory",
                                                      "VM.Config.Network",
                                                      "VM.Config.Options",
                                                      "VM.Console",
                                                      "VM.PowerMgmt"};
constexpr std::array<std::string_view, 8> more_privileges{"VM.GuestAgent.Audit",
                                                          "VM.GuestAgent.FileRead",
                                                          "VM.GuestAgent.FileSystemMgmt",
                                                          "VM.GuestAgent.FileWrite",
                                                          "VM.GuestAgent.Unrestricted",
                                                          "VM.Migrate",
                                                          "VM.Snapshot",
                                                          "VM.Snapshot.Rollback"};

}  // namespace

Access::Access(State& state)
    : state_{state},
      key_{kept(state, "ticket-key", [] { return random_hex(64); })},
      password_{kept(state, "password", [] { return random_hex(24); })} {
  load_tokens();
}

std::string Access::sign(std::string_view text) const {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  HMAC(EVP_sha256(), key_.reveal().data(), static_cast<int>(key_.reveal().size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(), &length);
  return to_base64({reinterpret_cast<const char*>(digest.data()), length});
}

std::string Access::make_ticket(const std::string& user) const {
  const auto plain = fmt::format("PVE:{}:{:08X}", user, now());
  return fmt::format("{}::{}", plain, sign(plain));
}

std::optional<std::string> Access::ticket_user(std::string_view ticket) const {
  const auto end = ticket.find("::");
  if (end == std::string_view::npos) return std::nullopt;
  const auto plain = ticket.substr(0, end);
  if (!plain.starts_with("PVE:") || !same(ticket.substr(end + 2), sign(plain))) return std::nullopt;
  const auto colon = plain.rfind(':');
  std::int64_t made = 0;
  std::from_chars(plain.data() + colon + 1, plain.data() + plain.size(), made, 16);
  if (made > now() + clock_skew || made < now() - ticket_life) return std::nullopt;
  return std::string{plain.substr(4, colon - 4)};
}

Identity Access::identify(std::string_view cookie, std::string_view authorization) const {
  std::string ticket;
  constexpr std::string_view cookie_name = "PVEAuthCookie=";
  if (const auto at = cookie.find(cookie_name); at != std::string_view::npos) {
    const auto start = at + cookie_name.size();
    ticket = percent_decode(cookie.substr(start, cookie.find(';', start) - start));
  } else if (authorization.starts_with(cookie_name)) {
    ticket = percent_decode(authorization.substr(cookie_name.size()));
  }
  if (!ticket.empty()) {
    if (auto user = ticket_user(ticket)) return {std::move(*user), true};
    throw ApiError{401, "Authentication failed!"};
  }
  constexpr std::string_view token_name = "PVEAPIToken=";
  if (authorization.starts_with(token_name)) {
    const auto given = authorization.substr(token_name.size());
    const auto equals = given.find('=');
    const auto bang = given.find('!');
    if (equals != std::string_view::npos && bang < equals && given.substr(0, bang) == root) {
      const std::string name{given.substr(bang + 1, equals - bang - 1)};
      const auto it = tokens_.find(name);
      if (it != tokens_.end() &&
          same(it->second.secret_sha256, sha256_hex(given.substr(equals + 1)))) {
        return {fmt::format("{}!{}", root, name), false};
      }
    }
    throw ApiError{401, "Authentication failed!"};
  }
  throw ApiError{401, "No ticket"};
}

void Access::check_csrf(const Identity& caller, std::string_view token) const {
  if (!caller.by_ticket) return;
  const auto colon = token.find(':');
  const auto text = token.substr(0, colon);
  std::int64_t made = 0;
  std::from_chars(text.data(), text.data() + text.size(), made, 16);
  const bool fresh = made >= now() - ticket_life - clock_skew && made <= now() + clock_skew;
  if (colon == std::string_view::npos || !fresh ||
      !same(token.substr(colon + 1), sign(fmt::format("{}:{}", text, caller.user)))) {
    throw ApiError{401, "Permission denied - invalid csrf token"};
  }
}

Secret Access::own_token(const std::string& name) {
  const auto file = "token-" + name;
  if (auto secret = state_.read(file); secret && tokens_.contains(name)) return Secret{*secret};
  const auto secret = random_uuid();
  state_.write(file, secret);
  tokens_[name] = {sha256_hex(secret), false, "made by the local node"};
  save_tokens();
  return Secret{secret};
}

void Access::load_tokens() {
  const auto text = state_.read("tokens.json");
  if (!text) return;
  const auto stored = json::parse(*text, "tokens.json");
  for (const auto& [name, value] : stored.as_object()) {
    tokens_[std::string{name}] = {json::text_at(value, "sha256"),
                                  json::flag_or(value, "privsep", true),
                                  json::text_or(value, "comment")};
  }
}

void Access::save_tokens() const {
  json::object out;
  for (const auto& [name, token] : tokens_) {
    out[name] = json::object{
        {"sha256", token.secret_sha256}, {"privsep", token.separate}, {"comment", token.comment}};
  }
  state_.write("tokens.json", boost::json::serialize(out));
}

awaitable<json::value> Access::log_in(Call& call) {
  auto user = call.text("username");
  if (call.has("realm") && user.find('@') == std::string::npos) user += "@" + call.text("realm");
  const auto& password = call.text("password");
  const auto renewed = ticket_user(password);
  const bool fine = user == root && (same(password, password_.reveal()) || renewed == user);
  if (!fine) throw ApiError{401, "authentication failure\n"};
  const auto stamp = fmt::format("{:08X}", now());
  co_return json::object{
      {"username", user},
      {"ticket", make_ticket(user)},
      {"CSRFPreventionToken", fmt::format("{}:{}", stamp, sign(fmt::format("{}:{}", stamp, user)))},
      {"cap", json::object{}}};
}

bool Access::has_rights(const std::string& user) const {
  const auto bang = user.find('!');
  if (bang == std::string::npos) return true;
  const auto it = tokens_.find(user.substr(bang + 1));
  return it != tokens_.end() && !it->second.separate;
}

awaitable<json::value> Access::permissions(Call& call) {
  json::object out;
  if (!has_rights(call.user)) co_return out;
  if (call.has("userid") && call.text("userid") != root) {
    throw ApiError{501, "the local node does not implement the permissions of other users"};
  }
  json::object all;
  for (const auto name : privileges) all[name] = 1;
  for (const auto name : more_privileges) all[name] = 1;
  if (call.has("path")) {
    out[call.text("path")] = all;
    co_return out;
  }
  for (const auto* path : {"/", "/vms", "/nodes", "/storage", "/pool", "/sdn", "/access"}) {
    out[path] = all;
  }
  co_return out;
}

void Access::need_root(const Call& call) const {
  if (call.text("userid") != root) {
    throw ApiError{500, fmt::format("no such user ('{}')", call.text("userid"))};
  }
}

awaitable<json::value> Access::list_tokens(Call& call) {
  need_root(call);
  json::array out;
  for (const auto& [name, token] : tokens_) {
    out.push_back(json::object{
        {"tokenid", name}, {"privsep", token.separate ? 1 : 0}, {"comment", token.comment}});
  }
  co_return out;
}

awaitable<json::value> Access::read_token(Call& call) {
  need_root(call);
  const auto it = tokens_.find(call.text("tokenid"));
  if (it == tokens_.end()) {
    throw ApiError{500,
                   fmt::format("no such token '{}' for user '{}'", call.text("tokenid"), root)};
  }
  json::object out{{"privsep", it->second.separate ? 1 : 0}, {"expire", 0}};
  if (!it->second.comment.empty()) out["comment"] = it->second.comment;
  co_return out;
}

awaitable<json::value> Access::make_token(Call& call) {
  need_root(call);
  const auto& name = call.text("tokenid");
  if (tokens_.contains(name)) throw ApiError::parameter("tokenid", "Token already exists.");
  if (call.number_or("expire", 0) != 0) {
    throw ApiError{501, "the local node does not implement tokens that expire"};
  }
  const auto secret = random_uuid();
  const bool separate = call.flag("privsep", true);
  tokens_[name] = {sha256_hex(secret), separate, call.text_or("comment", "")};
  save_tokens();
  json::object info{{"privsep", separate ? "1" : "0"}};
  if (call.has("comment")) info["comment"] = call.text("comment");
  co_return json::object{
      {"full-tokenid", fmt::format("{}!{}", root, name)}, {"value", secret}, {"info", info}};
}

awaitable<json::value> Access::remove_token(Call& call) {
  need_root(call);
  if (tokens_.erase(call.text("tokenid")) == 0) {
    throw ApiError{500,
                   fmt::format("no such token '{}' for user '{}'", call.text("tokenid"), root)};
  }
  save_tokens();
  co_return nullptr;
}

void Access::add_routes(Router& router) {
  const auto bind = [this](awaitable<json::value> (Access::*handler)(Call&)) -> Handler {
    return [this, handler](Call& call) { return (this->*handler)(call); };
  };
  router.add({.method = "POST",
              .path = "/access/ticket",
              .params = {{.name = "username", .required = true, .max_length = 64},
                         {.name = "password", .required = true},
                         {.name = "realm", .max_length = 32},
                         {.name = "otp"},
                         {.name = "path", .max_length = 64},
                         {.name = "privs", .max_length = 64},
                         {.name = "new-format", .type = ParamType::boolean},
                         {.name = "tfa-challenge"}},
              .handler = bind(&Access::log_in),
              .is_protected = true,
              .allow_token = false,
              .open = true});
  router.add({.method = "GET",
              .path = "/access/permissions",
              .params = {{.name = "path"}, {.name = "userid"}},
              .handler = bind(&Access::permissions)});
  router.add(
      {.method = "GET",
       .path = "/access/domains",
       .params = {},
       .handler = [](Call&) -> awaitable<json::value> {
         co_return json::array{json::object{
             {"realm", "pam"}, {"type", "pam"}, {"comment", "Linux PAM standard authentication"}}};
       },
       .open = true});
  const std::string tokens = "/access/users/{userid}/token";
  router.add(
      {.method = "GET", .path = tokens, .params = {}, .handler = bind(&Access::list_tokens)});
  router.add({.method = "GET",
              .path = tokens + "/{tokenid}",
              .params = {},
              .handler = bind(&Access::read_token)});
  router.add({.method = "POST",
              .path = tokens + "/{tokenid}",
              .params = {{.name = "comment"},
                         {.name = "expire", .type = ParamType::integer, .minimum = 0},
                         {.name = "privsep", .type = ParamType::boolean}},
              .handler = bind(&Access::make_token),
              .is_protected = true});
  router.add({.method = "DELETE",
              .path = tokens + "/{tokenid}",
              .params = {},
              .handler = bind(&Access::remove_token),
              .is_protected = true});
}

}  // namespace px::node
