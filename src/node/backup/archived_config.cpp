#include "node/backup/archived_config.hpp"

#include "node/vm/vm_options.hpp"
#include "support/bytes.hpp"
#include "support/error.hpp"

#include <algorithm>
#include <sstream>

namespace px::node {

namespace {

constexpr std::string_view map_mark = "#qmdump#map:";

/// What stays behind: locks and the order of snapshots, and disks that nothing uses.
bool stays_behind(const std::string& name) {
  return name == "lock" || name == "parent" || name == "snaptime" || name == "vmstate" ||
         name.starts_with("unused");
}

/// An option of the VM itself that no request sets.
bool is_made_anew(const std::string& name) {
  return name == "meta" || name == "digest" || name == "template";
}

bool is_offered(const std::string& name) {
  const auto& params = vm_option_params();
  return std::any_of(params.begin(), params.end(), [&name](const Param& param) {
    if (!param.name.ends_with("[n]")) return param.name == name;
    const auto stem = param.name.substr(0, param.name.size() - 3);
    return name.starts_with(stem) && name.size() > stem.size() &&
           name.find_first_not_of("0123456789", stem.size()) == std::string::npos;
  });
}

ArchivedDrive parse_map(const std::string& line) {
  std::istringstream fields{line.substr(map_mark.size())};
  ArchivedDrive drive;
  for (auto* field : {&drive.name, &drive.device, &drive.storage, &drive.format}) {
    std::getline(fields, *field, ':');
  }
  if (!is_drive_option(drive.name) || drive.device.empty()) {
    throw Error{Errc::rejected, fmt::format("the archive's line '{}' names no drive", line)};
  }
  return drive;
}

/// The same checks as a request's options, which no file may get around.
Options checked(const Options& options) {
  std::map<std::string, std::vector<std::string>> given;
  for (const auto& [name, value] : options) given[name] = {value};
  Call call;
  Route table;
  table.params = vm_option_params();
  check_parameters(table, {}, std::move(given), call);
  // Who may restore takes what only root may set: it was set when the archive was made.
  call.user = "root@pam";
  return options_of(call, {});
}

}  // namespace

bool is_archived(const Drive& drive) {
  const auto backup = drive.properties.get("backup", "1");
  return !drive.is_cdrom() && !drive.is_empty() && backup != "0" && backup != "no" &&
         backup != "off" && backup != "false";
}

std::string print_archived_config(const Options& options,
                                  const std::vector<ArchivedDrive>& drives) {
  VmConfig config;
  config.current = options;
  std::erase_if(config.current, [](const auto& option) { return stays_behind(option.first); });
  for (const auto& drive : drives_of(options)) {
    if (!drive.is_cdrom() && !is_archived(drive)) config.current.erase(drive.name);
  }
  auto text = config.print();
  for (const auto& drive : drives) {
    text += fmt::format("{}{}:{}:{}:{}:\n", map_mark, drive.name, drive.device, drive.storage,
                        drive.format);
  }
  return text;
}

ArchivedConfig parse_archived_config(const std::string& text) {
  ArchivedConfig out;
  std::string plain;
  std::string notes;
  std::istringstream lines{text};
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('[')) break;  // snapshots and pending changes are not backed up
    if (line.starts_with(map_mark)) {
      out.drives.push_back(parse_map(line));
    } else if (line.starts_with("#qmdump#") || line.starts_with("#vzdump#")) {
      continue;
    } else if (line.starts_with('#')) {
      notes += percent_decode(line.substr(1)) + "\n";  // Proxmox VE's form of `description`
    } else {
      plain += line + "\n";
    }
  }
  Options options = VmConfig::parse(plain).current;
  if (!notes.empty()) options["description"] = notes;
  out.is_template = option_or(options, "template") == "1";
  for (auto option = options.begin(); option != options.end();) {
    const auto& name = option->first;
    const bool keep = !stays_behind(name) && !is_made_anew(name) && is_offered(name);
    if (!keep && !stays_behind(name) && !is_made_anew(name)) out.left_out.push_back(name);
    option = keep ? std::next(option) : options.erase(option);
  }
  out.options = checked(options);
  return out;
}

}  // namespace px::node
