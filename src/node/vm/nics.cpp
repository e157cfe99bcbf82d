#include "node/vm/nics.hpp"

#include <set>

namespace px::node {

namespace {

std::set<std::string> nics_of(const Options& options) {
  std::set<std::string> out;
  for (const auto& [name, value] : options) {
    if (is_nic_option(name)) out.insert(name);
  }
  return out;
}

/// An option as it was before a change that could not be made.
void take_back(VmConfig& config, const std::string& name, const Options& before) {
  config.pending[name] = config.current.at(name);
  const auto old = before.find(name);
  if (old == before.end()) {
    config.current.erase(name);
  } else {
    config.current[name] = old->second;
  }
}

}  // namespace

std::map<std::string, std::string> rebook_nics(Sdn& sdn, int vmid, const Options& before,
                                               VmConfig& after) {
  std::map<std::string, std::string> failures;
  auto names = nics_of(before);
  names.merge(nics_of(after.current));
  for (const auto& name : names) {
    const auto old = before.find(name);
    const auto now = after.current.find(name);
    const bool was = old != before.end();
    const bool is = now != after.current.end();
    if (was && is && NicPlace::parse(old->second) == NicPlace::parse(now->second)) continue;
    if (was) sdn.leave(NicPlace::parse(old->second));
    if (!is) continue;
    try {
      sdn.join(NicPlace::parse(now->second), option_or(after.current, "name"), vmid);
    } catch (const ApiError& error) {
      failures[name] = fmt::format("unable to apply pending change {} : {}", name, error.message);
      take_back(after, name, before);
    }
  }
  return failures;
}

Options with_pending_nics(const VmConfig& config) {
  Options options = config.current;
  for (const auto& [name, value] : config.pending) {
    if (is_nic_option(name)) options[name] = value;
  }
  return options;
}

void confirm_nics(Sdn& sdn, int vmid, const Options& options) {
  for (const auto& name : nics_of(options)) {
    const auto nic = NicPlace::parse(options.at(name));
    sdn.check_bridge(nic.bridge);
    sdn.confirm(nic, option_or(options, "name"), vmid);
  }
}

}  // namespace px::node
