// A stranger's OVF descriptor: a machine comes out that holds what its header promises, or an
// Error{bad_input} that names the file.
#include "image/appliance_vm.hpp"
#include "image/ovf.hpp"
#include "support/error.hpp"

#include <cstdlib>
#include <set>
#include <tuple>

namespace {

void require(bool fact) {
  if (!fact) std::abort();
}

void check(const px::image::OvfMachine& machine) {
  std::set<std::string> ids;
  std::set<std::tuple<std::string, int, int>> places;
  for (const auto& disk : machine.disks) {
    static const std::set<std::string> buses{"ide", "sata", "scsi", "nvme", "virtio"};
    require(buses.contains(disk.controller));
    require(ids.insert(disk.id).second);
    require(places.emplace(disk.controller, disk.controller_number, disk.position).second);
    require(disk.file || disk.capacity > 0);
  }
  require(!machine.vcpus || *machine.vcpus > 0);
  require(!machine.memory_mib || *machine.memory_mib > 0);
  for (const auto& nic : machine.nics) require(!nic.model.empty());
}

void check_vm(px::image::OvfMachine machine) {
  px::image::Appliance appliance;
  appliance.path = "box.ova";
  appliance.machine = std::move(machine);
  for (const auto& disk : appliance.machine.disks) {
    px::image::ApplianceDisk out;
    out.id = disk.id;
    out.controller = disk.controller;
    out.scsi_model = disk.scsi_model;
    appliance.disks.push_back(std::move(out));
  }
  if (appliance.disks.empty()) return;
  const auto vm = px::image::vm_of(appliance);
  require(std::set<std::string>(vm.slots.begin(), vm.slots.end()).size() == appliance.disks.size());
  require(!px::image::options_of(appliance, vm).empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text{reinterpret_cast<const char*>(data), size};
  try {
    auto machine = px::image::parse_ovf(text, "box.ova: box.ovf");
    check(machine);
    check_vm(std::move(machine));
  } catch (const px::Error& error) {
    require(error.kind == px::Errc::bad_input);
    require(std::string_view{error.what()}.find("box.ov") != std::string_view::npos);
  }
  return 0;
}
