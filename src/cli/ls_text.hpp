#pragma once
#include "image/inventory.hpp"
#include "pve/instance.hpp"
#include "sandbox/belongings.hpp"
#include "sandbox/networks.hpp"

#include <chrono>
#include <string>

/// What `ls` shows, as text. No server.
namespace px::cli {

/// All that is ours on a node.
struct Stock {
  sandbox::Belongings belongings;
  image::Inventory images;
};

/// A table; empty when there is nothing of ours.
std::string stock_table(const Stock& stock, const sandbox::LifeOf& life_of,
                        std::chrono::sys_seconds now);
/// A JSON object for each thing, a line each (docs/configuration.md).
std::string stock_lines(const pve::Instance& server, const Stock& stock,
                        const sandbox::LifeOf& life_of, std::chrono::sys_seconds now);

}  // namespace px::cli
