#pragma once
#include "cli/work.hpp"
#include "pve/client.hpp"
#include "pve/instance.hpp"
#include "sandbox/instances.hpp"
#include "sandbox/life_sign.hpp"
#include "support/error.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

/// What commands find on the servers of the environment.
namespace px::cli {

/// Of a run, by this process's environment.
sandbox::RunLife life_of(const std::string& run);

/// The servers of the environment. One that is a whole cluster stands there once for each of its
/// nodes, or, when only `one_each` is wanted, for the first; one that does not answer as it is.
std::vector<pve::Instance> read_servers(bool one_each = false);

/// Tells what is wrong with a server; the first one's exit code counts.
void report(const pve::Instance& server, const Error& error, int& exit_code);

/// A server and what was found there; nothing when it could not be looked at.
template <class T>
struct Looked {
  pve::Instance server;
  std::optional<T> inventory;
};

template <class T>
struct AllServers {
  std::vector<Looked<T>> servers;
  int exit_code = 0;  ///< of the first that could not be looked at
};

/// All side by side, `one_each` as in read_servers(). One that can't be looked at keeps nobody from
/// seeing the others.
template <class T>
AllServers<T> look_at_all(const std::function<awaitable<T>(pve::Client& client)>& look,
                          bool one_each = false) {
  AllServers<T> out;
  const auto servers = read_servers(one_each);
  for (const auto& server : servers) out.servers.push_back({server, std::nullopt});
  const auto failures =
      work_on_all(servers, [&](pve::Client& client, std::size_t index) -> awaitable<void> {
        out.servers[index].inventory = co_await look(client);
      });
  for (std::size_t i = 0; i < servers.size(); ++i) {
    if (failures[i]) report(servers[i], *failures[i], out.exit_code);
  }
  return out;
}

/// A mistyped name is found before anything is removed: one that is among the `unknown` of every
/// choice. `wrong` says what nobody has. Throws Error{bad_input}.
template <class Choice>
void check_names(const std::vector<Choice>& choices, const std::vector<std::string>& names,
                 const std::string& wrong) {
  for (const auto& name : names) {
    const bool nowhere = std::ranges::all_of(choices, [&](const Choice& choice) {
      return std::ranges::find(choice.unknown, name) != choice.unknown.end();
    });
    if (nowhere) throw_bad_input("name", name, wrong);
  }
}

}  // namespace px::cli
