#include "node/vm/vm_options.hpp"

#include <algorithm>

namespace px::node {

/// As PUT /nodes/{node}/qemu/{vmid}/config has them in api-schema.json; tests/api compares.
const std::vector<Param>& vm_option_params() {
  using enum ParamType;
  static const std::vector<Param> params{
      {.name = "acpi", .type = boolean},
      {.name = "affinity", .format = "pve-cpuset"},
      {.name = "agent"},
      {.name = "allow-ksm", .type = boolean},
      {.name = "amd-sev"},
      {.name = "arch", .one_of = {"x86_64", "aarch64"}},
      {.name = "args"},
      {.name = "audio0"},
      {.name = "autostart", .type = boolean},
      {.name = "balloon", .type = integer, .minimum = 0},
      {.name = "bios", .one_of = {"seabios", "ovmf"}},
      {.name = "boot"},
      {.name = "bootdisk", .pattern = "(ide|sata|scsi|virtio)\\d+"},
      {.name = "cdrom"},
      {.name = "cicustom"},
      {.name = "cipassword"},
      {.name = "citype", .one_of = {"configdrive2", "nocloud", "opennebula"}},
      {.name = "ciupgrade", .type = boolean},
      {.name = "ciuser"},
      {.name = "cores", .type = integer, .minimum = 1},
      {.name = "cpu"},
      {.name = "cpulimit", .type = number, .minimum = 0, .maximum = 128},
      {.name = "cpuunits", .type = integer, .minimum = 1, .maximum = 262144},
      {.name = "description", .max_length = 8192},
      {.name = "efidisk0"},
      {.name = "freeze", .type = boolean},
      {.name = "hookscript", .format = "pve-volume-id"},
      {.name = "hostpci[n]"},
      {.name = "hotplug", .format = "pve-hotplug-features"},
      {.name = "hugepages", .one_of = {"any", "2", "1024"}},
      {.name = "ide[n]"},
      {.name = "intel-tdx"},
      {.name = "ipconfig[n]"},
      {.name = "ivshmem"},
      {.name = "keephugepages", .type = boolean},
      {.name = "keyboard",
       .one_of = {"de",    "de-ch", "da", "en-gb", "en-us", "es", "fi", "fr", "fr-be",
                  "fr-ca", "fr-ch", "hu", "is",    "it",    "ja", "lt", "mk", "nl",
                  "no",    "pl",    "pt", "pt-br", "sv",    "sl", "tr"}},
      {.name = "kvm", .type = boolean},
      {.name = "localtime", .type = boolean},
      {.name = "lock",
       .one_of = {"backup", "clone", "create", "migrate", "rollback", "snapshot", "snapshot-delete",
                  "suspending", "suspended"}},
      {.name = "machine"},
      {.name = "memory"},
      {.name = "migrate_downtime", .type = number, .minimum = 0},
      {.name = "migrate_speed", .type = integer, .minimum = 0},
      {.name = "name"},
      {.name = "nameserver", .format = "address-list"},
      {.name = "net[n]"},
      {.name = "numa", .type = boolean},
      {.name = "numa[n]"},
      {.name = "onboot", .type = boolean},
      {.name = "ostype",
       .one_of = {"other", "wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11",
                  "l24", "l26", "solaris"}},
      {.name = "parallel[n]", .pattern = "/dev/parport\\d+|/dev/usb/lp\\d+"},
      {.name = "protection", .type = boolean},
      {.name = "reboot", .type = boolean},
      {.name = "rng0"},
      {.name = "sata[n]"},
      {.name = "scsi[n]"},
      {.name = "scsihw",
       .one_of = {"lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas",
                  "pvscsi"}},
      {.name = "searchdomain"},
      {.name = "serial[n]", .pattern = "(/dev/[^,]+|socket)"},
      {.name = "shares", .type = integer, .minimum = 0, .maximum = 50000},
      {.name = "smbios1", .max_length = 512},
      {.name = "smp", .type = integer, .minimum = 1},
      {.name = "sockets", .type = integer, .minimum = 1},
      {.name = "spice_enhancements"},
      {.name = "sshkeys", .format = "urlencoded"},
      {.name = "startdate",
       .pattern = "(now|\\d{4}-\\d{1,2}-\\d{1,2}(T\\d{1,2}:\\d{1,2}:\\d{1,2})?)"},
      {.name = "startup", .format = "pve-startup-order"},
      {.name = "tablet", .type = boolean},
      {.name = "tags"},
      {.name = "tdf", .type = boolean},
      {.name = "template", .type = boolean},
      {.name = "tpmstate0"},
      {.name = "unused[n]"},
      {.name = "usb[n]"},
      {.name = "vcpus", .type = integer, .minimum = 1},
      {.name = "vga"},
      {.name = "virtio[n]"},
      {.name = "virtiofs[n]"},
      {.name = "vmgenid",
       .pattern = "(?:[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}|[01])"},
      {.name = "vmstatestorage", .format = "pve-storage-id"},
      {.name = "watchdog"},
  };
  return params;
}

const Param* find_vm_option(std::string_view name) {
  const auto& params = vm_option_params();
  const auto is_option = [name](const Param& param) {
    if (!param.name.ends_with("[n]")) return param.name == name;
    const auto stem = std::string_view{param.name}.substr(0, param.name.size() - 3);
    return name.starts_with(stem) && name.size() > stem.size() &&
           name.find_first_not_of("0123456789", stem.size()) == std::string_view::npos;
  };
  const auto found = std::find_if(params.begin(), params.end(), is_option);
  return found == params.end() ? nullptr : &*found;
}

}  // namespace px::node
