#include "node/vm/cloud_init.hpp"

#include "node/network/address.hpp"
#include "node/network/sdn.hpp"
#include "support/bytes.hpp"
#include "support/error.hpp"
#include "support/json.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <boost/algorithm/string/classification.hpp>
#include <boost/algorithm/string/split.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace px::node {

namespace {

constexpr std::size_t largest_sum = 3 << 20;

[[noreturn]] void refuse_cloud_init(std::string text) {
  throw Error{Errc::rejected, std::move(text)};
}

std::string cloud_init_format(const Options& options) {
  return option_or(options, "citype", is_windows(options) ? "configdrive2" : "nocloud");
}

std::vector<std::string> blank_separated(const std::string& text) {
  std::vector<std::string> words;
  boost::split(words, text, boost::is_space(), boost::token_compress_on);
  std::erase(words, "");
  return words;
}

std::vector<std::string> ssh_keys(const Options& options) {
  std::vector<std::string> keys;
  const std::string text = percent_decode(option_or(options, "sshkeys"));
  boost::split(keys, text, boost::is_any_of("\n"));
  std::erase_if(keys, [](const std::string& key) {
    return key.find_first_not_of(" \t\r") == std::string::npos;
  });
  return keys;
}

struct HostName {
  std::string host;
  std::string full;
};

HostName host_name(const Options& options, int vmid) {
  const std::string name = option_or(options, "name", fmt::format("VM{}", vmid));
  if (const auto dot = name.find('.'); dot != std::string::npos) return {name.substr(0, dot), name};
  const std::string domain = option_or(options, "searchdomain");
  return {name, domain.empty() ? name : name + "." + domain};
}

std::string user_data(const Options& options, int vmid) {
  const auto [host, full] = host_name(options, vmid);
  const std::string user = option_or(options, "ciuser");
  std::string text =
      fmt::format("#cloud-config\nhostname: {}\nmanage_etc_hosts: true\nfqdn: {}\n", host, full);
  if (!user.empty()) text += fmt::format("user: {}\n", user);
  if (user == "root") text += "disable_root: False\n";
  if (options.contains("cipassword")) {
    text += fmt::format("password: {}\n", options.at("cipassword"));
  }
  if (options.contains("sshkeys")) {
    text += "ssh_authorized_keys:\n";
    for (const auto& key : ssh_keys(options)) text += fmt::format("  - {}\n", key);
  }
  text += "chpasswd:\n  expire: False\n";
  if (user != "root") text += "users:\n  - default\n";
  if (option_or(options, "ciupgrade", "1") == "1") text += "package_upgrade: true\n";
  return text;
}

/// One NIC that cloud-init configures.
struct Interface {
  std::string name;  ///< eth0
  std::string mac;
  Properties addresses;
};

std::vector<Interface> interfaces_of(const Options& options) {
  std::vector<Interface> out;
  for (const auto& [name, value] : options) {
    if (!is_nic_option(name)) continue;
    const std::string number = name.substr(3);
    const auto config = options.find("ipconfig" + number);
    if (config == options.end()) continue;
    Properties addresses{config->second};
    if (!addresses.has("ip") && !addresses.has("ip6")) {
      addresses.set("ip", "dhcp");
      addresses.set("ip6", "dhcp");
    }
    const std::string mac = Properties{value}.items().front().second;
    out.push_back({"eth" + number, boost::algorithm::to_lower_copy(mac), std::move(addresses)});
  }
  return out;
}

struct Ip4 {
  std::string address;
  std::string mask;
};

Ip4 split_ip4(const std::string& text) {
  const auto cidr = Cidr::parse(text);
  if (!cidr || !cidr->is_v4()) refuse_cloud_init("not a CIDR: " + text);
  const boost::asio::ip::network_v4 network{cidr->address.to_v4(),
                                            static_cast<unsigned short>(cidr->prefix)};
  return {cidr->address.to_string(), network.netmask().to_string()};
}

std::string subnets_v1(const Properties& addresses) {
  const std::string indent(6, ' ');
  std::string text;
  if (const std::string ip = addresses.get("ip"); ip == "dhcp") {
    text += indent + "- type: dhcp4\n";
  } else if (!ip.empty()) {
    const auto [address, mask] = split_ip4(ip);
    text += fmt::format("{0}- type: static\n{0}  address: '{1}'\n{0}  netmask: '{2}'\n", indent,
                        address, mask);
    if (addresses.has("gw"))
      text += fmt::format("{}  gateway: '{}'\n", indent, addresses.get("gw"));
  }
  if (const std::string ip = addresses.get("ip6"); ip == "dhcp") {
    text += indent + "- type: dhcp6\n";
  } else if (ip == "auto") {
    text += indent + "- type: ipv6_slaac\n";
  } else if (!ip.empty()) {
    text += fmt::format("{0}- type: static6\n{0}  address: '{1}'\n", indent, ip);
    if (addresses.has("gw6")) {
      text += fmt::format("{}  gateway: '{}'\n", indent, addresses.get("gw6"));
    }
  }
  return text;
}

/// Version 1 of cloud-init's network configuration.
std::string network_v1(const Options& options) {
  std::string text = "version: 1\nconfig:\n";
  for (const auto& [name, mac, addresses] : interfaces_of(options)) {
    text += fmt::format(
        "    - type: physical\n      name: {}\n      mac_address: '{}'\n      subnets:\n{}", name,
        mac, subnets_v1(addresses));
  }
  const auto servers = blank_separated(option_or(options, "nameserver"));
  const auto domains = blank_separated(option_or(options, "searchdomain"));
  if (servers.empty() && domains.empty()) return text;
  text += "    - type: nameserver\n";
  for (const auto& [key, values] : {std::pair{"address", servers}, std::pair{"search", domains}}) {
    if (values.empty()) continue;
    text += fmt::format("      {}:\n", key);
    for (const auto& value : values) text += fmt::format("      - '{}'\n", value);
  }
  return text;
}

/// One interface of Debian's /etc/network/interfaces; `servers` is a line of its own.
std::string eni_interface(const Interface& interface, const std::string& servers) {
  const auto& [name, mac, addresses] = interface;
  std::string text = fmt::format("auto {}\n", name);
  const auto fixed = [&text, &servers](const std::string& address, const std::string& mask,
                                       const std::string& gateway) {
    text += fmt::format("        address {}\n        netmask {}\n", address, mask);
    if (!gateway.empty()) text += fmt::format("        gateway {}\n", gateway);
    text += servers;
  };
  if (const std::string ip = addresses.get("ip"); ip == "dhcp") {
    text += fmt::format("iface {} inet dhcp\n", name);
  } else if (!ip.empty()) {
    const auto [address, mask] = split_ip4(ip);
    text += fmt::format("iface {} inet static\n", name);
    fixed(address, mask, addresses.get("gw"));
  }
  if (const std::string ip = addresses.get("ip6"); ip == "dhcp" || ip == "auto") {
    text += fmt::format("iface {} inet6 {}\n", name, ip);
  } else if (!ip.empty()) {
    const auto slash = std::min(ip.find('/'), ip.size());
    text += fmt::format("iface {} inet6 static\n", name);
    fixed(ip.substr(0, slash), ip.substr(std::min(slash + 1, ip.size())), addresses.get("gw6"));
  }
  return text;
}

std::string network_eni(const Options& options) {
  const auto servers = blank_separated(option_or(options, "nameserver"));
  const auto domains = blank_separated(option_or(options, "searchdomain"));
  std::string text;
  std::string per_interface;
  if (is_windows(options)) {
    // What cloudbase-init reads: no loopback, and the servers with each interface.
    if (!servers.empty()) {
      per_interface = fmt::format("        dns-nameservers {}\n", fmt::join(servers, " "));
    }
  } else {
    text = "auto lo\niface lo inet loopback\n\n";
    if (!servers.empty()) {
      text += fmt::format("        dns_nameservers {}\n", fmt::join(servers, " "));
    }
    if (!domains.empty()) text += fmt::format("        dns_search {}\n", fmt::join(domains, " "));
  }
  for (const auto& interface : interfaces_of(options)) {
    text += eni_interface(interface, per_interface);
  }
  return text;
}

/// The identity of what the guest is told: it runs again what changed.
std::string instance_id(const std::string& user, const std::string& network) {
  return sha1_hex(user + network);
}

std::string windows_metadata(const Options& options, const std::string& id) {
  json::object meta{{"uuid", id},
                    {"network_config", json::object{{"content_path", "/content/0000"}}}};
  if (options.contains("cipassword")) meta["admin_pass"] = options.at("cipassword");
  json::object keys;
  for (const auto& key : ssh_keys(options)) keys[fmt::format("key-{}", keys.size())] = key;
  if (!keys.empty()) meta["public_keys"] = std::move(keys);
  return json::bj::serialize(meta);
}

std::string metadata(const Options& options, const CloudInitTexts& texts) {
  const std::string id = instance_id(texts.user, texts.network);
  if (cloud_init_format(options) == "nocloud") return fmt::format("instance-id: {}\n", id);
  if (is_windows(options)) return windows_metadata(options, id);
  return fmt::format(
      "{{\n     \"uuid\": \"{}\",\n     \"network_config\": {{ \"content_path\": \"/content/0000\" "
      "}}\n}}\n",
      id);
}

std::string network_text(const Options& options) {
  return cloud_init_format(options) == "nocloud" ? network_v1(options) : network_eni(options);
}

}  // namespace

std::string cloud_init_volume(int vmid) {
  return fmt::format("{0}/vm-{0}-cloudinit.raw", vmid);
}

bool is_cloud_init_drive(int vmid, const Drive& drive) {
  return drive.volume.ends_with(":" + cloud_init_volume(vmid));
}

bool wants_cloud_init(const Drive& drive) {
  return drive.volume.ends_with(":cloudinit");
}

std::optional<Drive> find_cloud_init_drive(int vmid, const Options& options) {
  for (const auto& drive : drives_of(options)) {
    if (is_cloud_init_drive(vmid, drive) || wants_cloud_init(drive)) return drive;
  }
  return std::nullopt;
}

Options cloud_init_options(const Options& options) {
  static const std::set<std::string, std::less<>> names{"cicustom",   "cipassword",   "citype",
                                                        "ciupgrade",  "ciuser",       "name",
                                                        "nameserver", "searchdomain", "sshkeys"};
  Options out;
  for (const auto& [name, value] : options) {
    if (names.contains(name) || name.starts_with("ipconfig")) out.emplace(name, value);
  }
  return out;
}

CloudInitTexts cloud_init_texts(const Options& options, int vmid) {
  CloudInitTexts texts;
  texts.user = user_data(options, vmid);
  texts.network = network_text(options);
  texts.meta = metadata(options, texts);
  return texts;
}

CloudInitImage cloud_init_image(const Options& options, int vmid,
                                const std::map<std::string, std::string>& custom) {
  CloudInitTexts texts;
  const auto text = [&custom](const char* key, auto make) {
    const auto given = custom.find(key);
    return given == custom.end() ? make() : given->second;
  };
  texts.user = text("user", [&] { return user_data(options, vmid); });
  texts.network = text("network", [&] { return network_text(options); });
  texts.vendor = text("vendor", [] { return std::string{}; });
  texts.meta = text("meta", [&] { return metadata(options, texts); });
  if (texts.user.size() + texts.network.size() + texts.meta.size() + texts.vendor.size() >
      largest_sum) {
    refuse_cloud_init("Cloud-Init sum of snippets too big (> 3 MiB)");
  }
  const std::string format = cloud_init_format(options);
  if (format == "opennebula") {
    refuse_cloud_init(
        "the local node can't start a VM with 'citype: opennebula': it makes nocloud and "
        "configdrive2 only");
  }
  if (format == "configdrive2") {
    return {"config-2",
            {{"openstack/content/0000", texts.network},
             {"openstack/latest/meta_data.json", texts.meta},
             {"openstack/latest/user_data", texts.user},
             {"openstack/latest/vendor_data.json", texts.vendor}}};
  }
  return {"cidata",
          {{"meta-data", texts.meta},
           {"network-config", texts.network},
           {"user-data", texts.user},
           {"vendor-data", texts.vendor}}};
}

}  // namespace px::node
