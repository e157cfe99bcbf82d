#include "node/vm/option_format.hpp"
#include "node/vm/vm_config.hpp"

namespace px::node {

/// The tables of api-schema.json, PUT /nodes/{node}/qemu/{vmid}/config; where that only names a
/// format (`pve-qm-hostpci`), those of qemu-server.
namespace {

const char* const number_ranges = R"(\d+(-\d+)?(;\d+(-\d+)?)*)";
const char* const base64 = R"([A-Za-z0-9+/]+={0,2})";
const char* const pci_id = "0x[0-9a-fA-F]{4}";

void append(std::vector<Param>& keys, std::vector<Param> more) {
  keys.insert(keys.end(), std::make_move_iterator(more.begin()),
              std::make_move_iterator(more.end()));
}

/// What every kind of disk has.
std::vector<Param> volume_keys(std::vector<std::string> formats) {
  return {{.name = "file", .required = true, .format = "pve-volume-id-or-qm-path"},
          {.name = "format", .one_of = std::move(formats)},
          {.name = "import-from", .format = "pve-volume-id-or-absolute-path"},
          {.name = "size", .format = "disk-size"}};
}

const std::vector<std::string>& disk_formats() {
  static const std::vector<std::string> formats{"raw", "qcow", "qed", "qcow2", "vmdk", "cloop"};
  return formats;
}

std::vector<Param> limit_keys() {
  using enum ParamType;
  std::vector<Param> keys;
  for (const auto* direction : {"", "_rd", "_wr"}) {
    const std::string side = direction;
    append(keys, {{.name = "bps" + side, .type = integer},
                  {.name = "bps" + side + "_max_length", .type = integer, .minimum = 1},
                  {.name = "iops" + side, .type = integer},
                  {.name = "iops" + side + "_max", .type = integer},
                  {.name = "iops" + side + "_max_length", .type = integer, .minimum = 1},
                  {.name = "mbps" + side, .type = number},
                  {.name = "mbps" + side + "_max", .type = number}});
  }
  return keys;
}

/// A disk on one of the four buses.
PropertyFormat drive_format(std::vector<Param> own) {
  using enum ParamType;
  auto keys = volume_keys(disk_formats());
  append(keys, limit_keys());
  append(keys, {{.name = "aio", .one_of = {"native", "threads", "io_uring"}},
                {.name = "backup", .type = boolean},
                {.name = "cache",
                 .one_of = {"none", "writethrough", "writeback", "unsafe", "directsync"}},
                {.name = "detect_zeroes", .type = boolean},
                {.name = "discard", .one_of = {"ignore", "on"}},
                {.name = "media", .one_of = {"cdrom", "disk"}},
                {.name = "replicate", .type = boolean},
                {.name = "rerror", .one_of = {"ignore", "report", "stop"}},
                {.name = "serial", .max_length = 60, .format = "urlencoded"},
                {.name = "shared", .type = boolean},
                {.name = "snapshot", .type = boolean},
                {.name = "werror", .one_of = {"enospc", "ignore", "report", "stop"}}});
  append(keys, std::move(own));
  return {"file",
          std::move(keys),
          {{"volume", "file"},
           {"bps_rd_length", "bps_rd_max_length"},
           {"bps_wr_length", "bps_wr_max_length"},
           {"iops_rd_length", "iops_rd_max_length"},
           {"iops_wr_length", "iops_wr_max_length"}}};
}

const Param ssd{.name = "ssd", .type = ParamType::boolean};
const Param wwn{.name = "wwn", .pattern = "0x[0-9a-fA-F]{16}"};
const Param iothread{.name = "iothread", .type = ParamType::boolean};
const Param read_only{.name = "ro", .type = ParamType::boolean};

std::map<std::string, PropertyFormat> drive_formats() {
  using enum ParamType;
  auto efi = volume_keys(disk_formats());
  append(efi, {{.name = "efitype", .one_of = {"2m", "4m"}},
               {.name = "ms-cert", .one_of = {"2011", "2023", "2023w", "2023k"}},
               {.name = "pre-enrolled-keys", .type = boolean}});
  auto tpm = volume_keys({"raw", "qcow2", "vmdk"});
  append(tpm, {{.name = "version", .one_of = {"v1.2", "v2.0"}}});
  return {{"ide",
           drive_format({{.name = "model", .max_length = 120, .format = "urlencoded"}, ssd, wwn})},
          {"sata", drive_format({ssd, wwn})},
          {"scsi", drive_format({iothread,
                                 {.name = "product", .pattern = R"([A-Za-z0-9\-_\s]{0,16})"},
                                 {.name = "queues", .type = integer, .minimum = 2},
                                 read_only,
                                 {.name = "scsiblock", .type = boolean},
                                 ssd,
                                 {.name = "vendor", .pattern = R"([A-Za-z0-9\-_\s]{0,8})"},
                                 wwn})},
          {"virtio", drive_format({iothread, read_only})},
          {"efidisk", {"file", std::move(efi), {{"volume", "file"}}}},
          {"tpmstate", {"file", std::move(tpm), {{"volume", "file"}}}},
          {"unused",
           {"file",
            {{.name = "file", .required = true, .format = "pve-volume-id"}},
            {{"volume", "file"}}}}};
}

std::map<std::string, PropertyFormat> machine_formats() {
  using enum ParamType;
  return {{"agent",
           {"enabled",
            {{.name = "enabled", .type = boolean, .required = true},
             {.name = "freeze-fs", .type = boolean},
             {.name = "fstrim_cloned_disks", .type = boolean},
             {.name = "type", .one_of = {"virtio", "isa"}}},
            {{"guest-fsfreeze", "freeze-fs"}, {"freeze-fs-on-backup", "freeze-fs"}}}},
          {"boot",
           {"legacy",
            {{.name = "legacy", .pattern = "[acdn]{1,4}"},
             {.name = "order", .format = "pve-qm-bootdev-list"}}}},
          {"cpu",
           {"cputype",
            {{.name = "cputype"},
             {.name = "flags", .pattern = R"([+-][a-zA-Z0-9._-]+(;[+-][a-zA-Z0-9._-]+)*)"},
             {.name = "guest-phys-bits", .type = integer, .minimum = 32, .maximum = 64},
             {.name = "hidden", .type = boolean},
             {.name = "hv-vendor-id", .pattern = "[a-zA-Z0-9]{1,12}"},
             {.name = "level", .type = integer, .minimum = 0, .maximum = 4294967295},
             {.name = "phys-bits", .pattern = "[89]|[1-5][0-9]|6[0-4]|host"},
             {.name = "reported-model"}}}},
          {"machine",
           {"type",
            {{.name = "aw-bits", .type = number, .minimum = 32, .maximum = 64},
             {.name = "enable-s3", .type = boolean},
             {.name = "enable-s4", .type = boolean},
             {.name = "type",
              .max_length = 40,
              .pattern = R"(pc|pc(-i440fx)?-\d+(\.\d+)+(\+pve\d+)?(\.pxe)?|q35|)"
                         R"(pc-q35-\d+(\.\d+)+(\+pve\d+)?(\.pxe)?|virt(-\d+(\.\d+)+)?(\+pve\d+)?)"},
             {.name = "viommu", .one_of = {"intel", "virtio"}}}}},
          {"memory",
           {"current", {{.name = "current", .type = integer, .required = true, .minimum = 16}}}},
          {"numa",
           {"",
            {{.name = "cpus", .required = true, .pattern = number_ranges},
             {.name = "hostnodes", .pattern = number_ranges},
             {.name = "memory", .type = number},
             {.name = "policy", .one_of = {"preferred", "bind", "interleave"}}}}},
          {"smbios1",
           {"",
            {{.name = "base64", .type = boolean},
             {.name = "family", .pattern = base64},
             {.name = "manufacturer", .pattern = base64},
             {.name = "product", .pattern = base64},
             {.name = "serial", .pattern = base64},
             {.name = "sku", .pattern = base64},
             {.name = "uuid", .pattern = "[a-fA-F0-9]{8}(-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}"},
             {.name = "version", .pattern = base64}}}}};
}

std::map<std::string, PropertyFormat> device_formats() {
  using enum ParamType;
  return {
      {"amd-sev",
       {"type",
        {{.name = "allow-smt", .type = boolean},
         {.name = "kernel-hashes", .type = boolean},
         {.name = "no-debug", .type = boolean},
         {.name = "no-key-sharing", .type = boolean},
         {.name = "type", .required = true, .one_of = {"std", "es", "snp"}}}}},
      {"audio",
       {"",
        {{.name = "device", .required = true, .one_of = {"ich9-intel-hda", "intel-hda", "AC97"}},
         {.name = "driver", .one_of = {"spice", "none"}}}}},
      {"hostpci",
       {"host",
        {{.name = "device-id", .pattern = pci_id},
         {.name = "driver", .one_of = {"vfio", "keep"}},
         {.name = "host",
          .pattern = R"(([0-9a-fA-F]{4,}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(\.[0-9a-fA-F])?)"
                     R"((;([0-9a-fA-F]{4,}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(\.[0-9a-fA-F])?)*)"},
         {.name = "legacy-igd", .type = boolean},
         {.name = "mapping", .format = "pve-configid"},
         {.name = "mdev", .pattern = R"([^/\.:]+)"},
         {.name = "pcie", .type = boolean},
         {.name = "rombar", .type = boolean},
         {.name = "romfile", .pattern = "[^,;]+"},
         {.name = "sub-device-id", .pattern = pci_id},
         {.name = "sub-vendor-id", .pattern = pci_id},
         {.name = "vendor-id", .pattern = pci_id},
         {.name = "x-vga", .type = boolean}}}},
      {"intel-tdx",
       {"type",
        {{.name = "attestation", .type = boolean, .required = true},
         {.name = "type", .required = true, .one_of = {"tdx"}},
         {.name = "vsock-cid", .type = integer, .minimum = 2},
         {.name = "vsock-port", .type = integer, .minimum = 0}}}},
      {"ivshmem",
       {"",
        {{.name = "name", .pattern = "[a-zA-Z0-9-]+"},
         {.name = "size", .type = integer, .required = true, .minimum = 1}}}},
      {"rng",
       {"source",
        {{.name = "max_bytes", .type = integer},
         {.name = "period", .type = integer},
         {.name = "source",
          .required = true,
          .one_of = {"/dev/urandom", "/dev/random", "/dev/hwrng"}}}}},
      {"spice_enhancements",
       {"",
        {{.name = "foldersharing", .type = boolean},
         {.name = "videostreaming", .one_of = {"off", "all", "filter"}}}}},
      {"usb",
       {"host",
        {{.name = "host",
          .pattern = R"((0x)?[0-9A-Fa-f]{4}:(0x)?[0-9A-Fa-f]{4}|\d+-\d+(\.\d+)*|)"
                     "[Ss][Pp][Ii][Cc][Ee]"},
         {.name = "mapping", .format = "pve-configid"},
         {.name = "usb3", .type = boolean}}}},
      {"vga",
       {"type",
        {{.name = "clipboard", .one_of = {"vnc"}},
         {.name = "memory", .type = integer, .minimum = 4, .maximum = 512},
         {.name = "type",
          .one_of = {"cirrus", "qxl", "qxl2", "qxl3", "qxl4", "none", "serial0", "serial1",
                     "serial2", "serial3", "std", "virtio", "virtio-gl", "vmware"}}}}},
      {"virtiofs",
       {"dirid",
        {{.name = "cache", .one_of = {"auto", "always", "metadata", "never"}},
         {.name = "direct-io", .type = boolean},
         {.name = "dirid", .required = true, .format = "pve-configid"},
         {.name = "expose-acl", .type = boolean},
         {.name = "expose-xattr", .type = boolean}}}},
      {"watchdog",
       {"model",
        {{.name = "action", .one_of = {"reset", "shutdown", "poweroff", "pause", "debug", "none"}},
         {.name = "model", .one_of = {"i6300esb", "ib700"}}}}}};
}

std::map<std::string, PropertyFormat> network_formats() {
  using enum ParamType;
  return {{"cicustom",
           {"",
            {{.name = "meta", .format = "pve-volume-id"},
             {.name = "network", .format = "pve-volume-id"},
             {.name = "user", .format = "pve-volume-id"},
             {.name = "vendor", .format = "pve-volume-id"}}}},
          {"ipconfig",
           {"",
            {{.name = "gw", .format = "ipv4", .needs = "ip"},
             {.name = "gw6", .format = "ipv6", .needs = "ip6"},
             {.name = "ip", .format = "pve-ipv4-config"},
             {.name = "ip6", .format = "pve-ipv6-config"}}}},
          // Beside model and address, which complete_nic() knows.
          {"net",
           {"",
            {{.name = "bridge", .format = "pve-bridge-id"},
             {.name = "firewall", .type = boolean},
             {.name = "host-tunnel", .type = boolean},
             {.name = "link_down", .type = boolean},
             {.name = "mtu", .type = integer, .minimum = 1, .maximum = 65520},
             {.name = "queues", .type = integer, .minimum = 0, .maximum = 64},
             {.name = "rate", .type = number, .minimum = 0},
             {.name = "tag", .type = integer, .minimum = 1, .maximum = 4094},
             {.name = "trunks", .pattern = number_ranges}}}}};
}

std::map<std::string, PropertyFormat> all_formats() {
  auto formats = drive_formats();
  formats.merge(machine_formats());
  formats.merge(device_formats());
  formats.merge(network_formats());
  return formats;
}

}  // namespace

const PropertyFormat* property_format_of(const std::string& name) {
  static const auto formats = all_formats();
  // `numa` alone is a flag, `numa0` a property string; `smbios1` has its digit always.
  const auto stem = name.substr(0, name.find_last_not_of("0123456789") + 1);
  if (name == "numa") return nullptr;
  const auto found = formats.find(formats.contains(name) ? name : stem);
  return found == formats.end() ? nullptr : &found->second;
}

}  // namespace px::node
