#include "sandbox/room.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace px::sandbox {

namespace {

constexpr std::int64_t mib = 1 << 20;
constexpr double gib = 1 << 30;

Share share_of_vm(const VmSpec& vm) {
  return {std::int64_t{vm.ram_mb} * mib, vm.vcpus};
}

std::string text_of_share(const Share& share) {
  return fmt::format("{} and {} vCPU{}", gib_text(share.memory), share.cores,
                     share.cores == 1 ? "" : "s");
}

}  // namespace

Share& Share::operator+=(const Share& other) {
  memory += other.memory;
  cores += other.cores;
  return *this;
}

Share& Share::operator-=(const Share& other) {
  memory -= other.memory;
  cores -= other.cores;
  return *this;
}

Share share_of(const Spec& spec) {
  Share out;
  for (const auto& vm : spec.vms) out += share_of_vm(vm);
  return out;
}

std::int64_t Room::free_memory() const noexcept {
  return size.memory - reserve - others.memory - ours.memory;
}

int Room::fits(const Share& share) const noexcept {
  if (most_samples) return std::max(*most_samples - samples, 0);
  std::int64_t out = std::numeric_limits<int>::max();
  if (size.memory > 0 && share.memory > 0) out = std::min(out, free_memory() / share.memory);
  if (size.cores > 0 && share.cores > 0) {
    const auto free = std::int64_t{size.cores} * cores_for_one - others.cores - ours.cores;
    out = std::min(out, std::max<std::int64_t>(free / share.cores, samples == 0 ? 1 : 0));
  }
  return static_cast<int>(std::max<std::int64_t>(out, 0));
}

std::string Room::refusal_of(const Spec& spec, const std::string& name) const {
  // With a number of its own the configuration answers for the memory.
  const auto usable = size.memory - (most_samples ? 0 : reserve);
  if (size.memory > 0 && share_of(spec).memory > usable) {
    return fmt::format("{} has {}, {} of them for samples", name, gib_text(size.memory),
                       gib_text(usable));
  }
  for (const auto& vm : spec.vms) {
    // qemu-server refuses to start it.
    if (size.cores > 0 && vm.vcpus > size.cores) {
      return fmt::format("{} has {} cores, and no VM may have more", name, size.cores);
    }
  }
  return {};
}

std::string Room::text() const {
  auto out = most_samples ? fmt::format("{} of {} samples", samples, *most_samples)
                          : fmt::format("{} sample{}", samples, samples == 1 ? "" : "s");
  if (size.memory > 0) {
    out += fmt::format(", {} of {} free", gib_text(std::max<std::int64_t>(free_memory(), 0)),
                       gib_text(size.memory));
  }
  if (others.memory > 0) out += fmt::format(", others hold {}", gib_text(others.memory));
  return out;
}

std::int64_t default_reserve(std::int64_t memory) noexcept {
  return std::clamp<std::int64_t>(memory / 20, 512 * mib, 8192 * mib);
}

std::string gib_text(std::int64_t bytes) {
  return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / gib);
}

std::string share_text(const Spec& spec) {
  auto out = text_of_share(share_of(spec));
  if (spec.vms.size() == 1) return out;
  std::vector<std::string> vms;
  for (const auto& vm : spec.vms) {
    vms.push_back(
        fmt::format("{}: {}", vm.name.value_or(vm.field), text_of_share(share_of_vm(vm))));
  }
  return fmt::format("{} ({})", out, fmt::join(vms, ", "));
}

}  // namespace px::sandbox
