#pragma once
#include "network/inventory.hpp"
#include "sandbox/networks.hpp"

#include <string>
#include <vector>

/// What `net` shows, as text. No server.
namespace px::cli {

/// Two tables: networks, and addresses when there are any. Empty for a server without networks.
std::string network_tables(const network::Inventory& inventory, const sandbox::LifeOf& life_of);
/// A JSON object for each zone, a line each (docs/configuration.md).
std::string network_lines(const std::string& server, const network::Inventory& inventory,
                          const sandbox::LifeOf& life_of);

/// A line or two for each problem.
std::string problem_text(const std::vector<sandbox::NetworkProblem>& problems);
std::string problem_lines(const std::string& server,
                          const std::vector<sandbox::NetworkProblem>& problems);

/// What would be, or is being, removed and what stays, with the reasons.
std::string choice_table(const sandbox::Choice& choice);

}  // namespace px::cli
