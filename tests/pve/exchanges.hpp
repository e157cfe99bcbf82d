#pragma once
#include <boost/json.hpp>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace px::testing {

/// A recorded request and its answer from a real server (../shared/pve/exchanges).
struct Exchange {
  std::string scenario;
  std::string method;
  std::string path;  ///< without /api2/json and query
  int status = 0;    ///< 0: closed without an answer
  std::string reason;
  std::string body;
};

/// All of them; empty where the recordings are not beside the checkout.
inline std::vector<Exchange> load_exchanges() {
  std::vector<Exchange> out;
  const auto folder = std::filesystem::path{PX_SOURCE_DIR} / "../shared/pve/exchanges";
  if (!std::filesystem::exists(folder)) return out;
  for (const auto& file : std::filesystem::directory_iterator{folder}) {
    std::ifstream in{file.path()};
    std::stringstream text;
    text << in.rdbuf();
    const auto recorded = boost::json::parse(text.str());
    for (const auto& entry : recorded.as_array()) {
      const auto& request = entry.at("request").as_object();
      const auto& response = entry.at("response").as_object();
      Exchange exchange;
      exchange.scenario = file.path().stem();
      exchange.method = request.at("method").as_string();
      exchange.path = request.at("path").as_string();
      exchange.path.resize(std::min(exchange.path.find('?'), exchange.path.size()));
      if (exchange.path.starts_with("/api2/json")) exchange.path.erase(0, 10);
      const std::string line{response.at("status_line").as_string()};
      if (!line.empty()) {
        exchange.status = std::stoi(line.substr(9, 3));
        exchange.reason = line.size() > 13 ? line.substr(13) : "";
      }
      if (const auto* body = response.if_contains("body"); body != nullptr && body->is_string()) {
        exchange.body = body->as_string();
      }
      out.push_back(std::move(exchange));
    }
  }
  return out;
}

}  // namespace px::testing
