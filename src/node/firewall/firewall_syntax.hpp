#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// How addresses, ports and protocols are written in the firewall's rules, in Proxmox VE's own
/// words where they are wrong. Pure. (pve-firewall Firewall.pm, the pve_fw_verify_* functions)
namespace px::node {

/// Of a named format of the API's schema: what is wrong with `value`, with a line's end; empty when
/// it is good, or the format is none of the firewall's.
std::string firewall_format_problem(const std::string& format, const std::string& value);

/// What stands in a rule's `source` or `dest`.
struct AddressSpec {
  enum class Kind { list, alias, ipset };
  Kind kind = Kind::list;
  std::string scope;                  ///< of an alias or IP set: dc, guest, sdn or empty
  std::string name;                   ///< of an alias (in lower case) or IP set
  std::vector<std::string> elements;  ///< addresses, CIDRs, or one range a-b
  int version = 0;                    ///< 4 or 6, of a list
};
/// Throws nothing for what firewall_format_problem() finds good.
AddressSpec parse_address_spec(const std::string& text);
int ip_version_of(std::string_view cidr);

/// An address without a needless prefix and a network without host bits, as IP sets keep them.
std::string clean_cidr(const std::string& cidr);

/// By number or by a name of /etc/protocols; nothing for what is none.
std::optional<int> protocol_number(const std::string& text);
/// tcp, udp, udplite, sctp, dccp.
bool protocol_has_ports(int protocol);

std::vector<std::string> split_commas(std::string_view text);

}  // namespace px::node
