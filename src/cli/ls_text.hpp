#pragma once
#include "image/inventory.hpp"
#include "pve/instance.hpp"
#include "pve/nodes.hpp"
#include "sandbox/belongings.hpp"
#include "sandbox/life_sign.hpp"
#include "sandbox/run_record.hpp"

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

/// What `ls` shows, as text. No server.
namespace px::cli {

/// What living runs on this machine say of their hosts, by run.
using SetAsideBy = std::map<std::string, std::vector<sandbox::SetAside>>;

/// All that is ours on a node.
struct Stock {
  sandbox::Belongings belongings;
  image::Inventory images;
  std::vector<sandbox::FoundRecord> records{};
  std::optional<pve::nodes::NodeStatus> node{};  ///< none without the right to see it
};

/// "node pve1 of rack1: 4 cores, 12.1 of 15.6 GiB of memory free"
std::string server_text(const pve::Instance& server, const Stock& stock);
/// A line for each run that has set this node, or its whole server, aside: "set aside by run ...
/// for 40 s more: why".
std::string set_aside_text(const pve::Instance& server, const SetAsideBy& all,
                           std::chrono::sys_seconds now);
/// The same as JSON objects, a line each.
std::string set_aside_lines(const pve::Instance& server, const SetAsideBy& all,
                            std::chrono::sys_seconds now);
/// A table, runs first; empty when there is nothing of ours.
std::string stock_table(const Stock& stock, const sandbox::LifeOf& life_of,
                        std::chrono::sys_seconds now);
/// A JSON object for the server, each run and each thing, a line each (docs/configuration.md).
std::string stock_lines(const pve::Instance& server, const Stock& stock,
                        const sandbox::LifeOf& life_of, std::chrono::sys_seconds now);
/// The line of a server that could not be looked at.
std::string failure_line(const pve::Instance& server, const std::string& error);

}  // namespace px::cli
