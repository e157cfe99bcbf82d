#pragma once
#include "node/route.hpp"
#include "node/state.hpp"
#include "support/secret.hpp"

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace px::node {

/// Who the caller is, and how that was shown.
struct Identity {
  std::string user;  ///< root@pam, or root@pam!name
  bool by_ticket = false;
};

/// The node's one user root@pam, its tickets and API tokens. Tickets are signed with a key of the
/// state directory, so they outlive a restart.
class Access {
 public:
  explicit Access(State& state);

  /// The password of root@pam: made at the first start, kept for the user's eyes only.
  const Secret& password() const noexcept { return password_; }
  /// A token of root@pam with all its rights, made anew when its secret isn't in the state.
  /// Returns its secret.
  Secret own_token(const std::string& name);

  /// From the headers `Cookie` and `Authorization` as they came. Throws ApiError 401 with the
  /// server's reason.
  Identity identify(std::string_view cookie, std::string_view authorization) const;
  /// Throws ApiError 401 "Permission denied - invalid csrf token".
  void check_csrf(const Identity& caller, std::string_view token) const;

  /// False for a token with privilege separation: nobody can give it rights on this node.
  bool has_rights(const std::string& user) const;

  void add_routes(Router& router);

 private:
  struct Token {
    std::string secret_sha256;
    bool separate = true;  ///< privsep
    std::string comment;
  };

  std::string sign(std::string_view text) const;
  std::string make_ticket(const std::string& user) const;
  std::optional<std::string> ticket_user(std::string_view ticket) const;
  void load_tokens();
  void save_tokens() const;
  void need_root(const Call& call) const;
  awaitable<json::value> log_in(Call& call);
  awaitable<json::value> permissions(Call& call);
  awaitable<json::value> list_tokens(Call& call);
  awaitable<json::value> read_token(Call& call);
  awaitable<json::value> make_token(Call& call);
  awaitable<json::value> remove_token(Call& call);

  State& state_;
  Secret key_;
  Secret password_;
  std::map<std::string, Token> tokens_;  ///< by name
};

}  // namespace px::node
