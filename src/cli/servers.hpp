#pragma once
#include "cli/work.hpp"
#include "pve/client.hpp"
#include "pve/instance.hpp"
#include "sandbox/instances.hpp"
#include "sandbox/life_sign.hpp"
#include "sandbox/run_record.hpp"
#include "support/error.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

/// What commands find on the servers of the environment.
namespace px::cli {

/// Which nodes of a server that is a whole cluster.
enum class Nodes {
  each,      ///< one entry for each node
  first,     ///< one entry, with the first node
  as_named,  ///< as the environment says: the entry may name no node
};

/// The servers of the environment; one that does not answer as it is named.
std::vector<pve::Instance> read_servers(Nodes nodes = Nodes::each);

/// Tells what is wrong with a server; the first one's exit code counts.
void report(const pve::Instance& server, const Error& error, int& exit_code);

/// A server and what was found there; nothing but why when it could not be looked at.
template <class T>
struct Looked {
  pve::Instance server;
  std::optional<T> inventory{};
  std::vector<sandbox::FoundRecord> records{};
  std::optional<Error> failure{};
};

template <class T>
struct AllServers {
  std::vector<Looked<T>> servers;
  int exit_code = 0;  ///< of the first that could not be looked at
  /// Of runs, as this machine and the records on all servers tell.
  sandbox::LifeOf life_of{};
};

/// What this machine knows of runs, and what these records say of others.
sandbox::LifeOf life_by(const std::vector<sandbox::FoundRecord>& records);

/// All side by side. One that can't be looked at keeps nobody from seeing the others.
template <class T>
AllServers<T> look_at_all(const std::function<awaitable<T>(pve::Client& client)>& look,
                          Nodes nodes = Nodes::each) {
  AllServers<T> out;
  const auto servers = read_servers(nodes);
  for (const auto& server : servers) out.servers.push_back({server});
  const auto failures =
      work_on_all(servers, [&](pve::Client& client, std::size_t index) -> awaitable<void> {
        out.servers[index].inventory = co_await look(client);
        // After the things: a living run has its record before anything else.
        out.servers[index].records = co_await sandbox::find_records(client);
      });
  std::vector<sandbox::FoundRecord> records;
  for (std::size_t i = 0; i < servers.size(); ++i) {
    auto& looked = out.servers[i];
    looked.failure = failures[i];
    if (failures[i]) report(servers[i], *failures[i], out.exit_code);
    records.insert(records.end(), looked.records.begin(), looked.records.end());
  }
  out.life_of = life_by(records);
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
