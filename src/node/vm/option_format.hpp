#pragma once
#include "node/route.hpp"

#include <map>
#include <string>
#include <vector>

/// The forms of a VM option's value beyond its type: property strings (`a,key=value`) and named
/// formats. Source: api-schema.json; texts from pve-common JSONSchema.pm and exchanges 04 and 08.
namespace px::node {

/// The keys of a property string. A key's `format` may be one of named_format_problem().
struct PropertyFormat {
  std::string default_key;  ///< of a word without `=`; empty = such a word is refused
  std::vector<Param> keys;
  /// Other names of keys, e.g. `volume` of `file`.
  std::map<std::string, std::string> aliases{};
};

/// The property format of the option `name`; nullptr when its value is no property string.
const PropertyFormat* property_format_of(const std::string& name);

/// What Proxmox VE says of `text` as a property string of option `name`, or nothing.
std::string property_problem(const std::string& name, const std::string& text,
                             const PropertyFormat& format);

/// The same for a named format of VM options: `pve-volume-id`, `urlencoded`, `pve-cpuset`... A
/// format that is not of VM options has no problem here.
std::string named_format_problem(const std::string& format, const std::string& value);

}  // namespace px::node
