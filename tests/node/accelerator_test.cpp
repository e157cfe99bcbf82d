#include "node/vm/accelerator.hpp"

#include "node/vm_api.hpp"

#include <gtest/gtest.h>

#include <fstream>

namespace px::node {
namespace {

using testing::TemporaryDirectory;

constexpr auto everyone = std::filesystem::perms::owner_all | std::filesystem::perms::group_read;

/// A QEMU that does what a script says, in the directory of the probe.
std::string qemu_that(const std::filesystem::path& directory, const std::string& script) {
  auto file = directory / "qemu";
  std::ofstream{file} << "#!/bin/sh\n" << script << "\nexec sleep 600\n";
  std::filesystem::permissions(file, everyone);
  return file.string();
}

TEST(Accelerator, runsTheProbeToItsEndWhereGuestsRun) {
  const TemporaryDirectory directory;
  EXPECT_TRUE(runs_guests("qemu-system-x86_64", Accelerator::tcg, directory.path()));
}

// Seen: SeaBIOS reaches its end, and the first loader after it never does.
TEST(Accelerator, isNotKvmWhereOnlyFirmwareRuns) {
  const TemporaryDirectory directory;
  const auto qemu = qemu_that(directory.path(),
                              "echo 'No bootable device' > probe.txt\n"
                              "echo 'KVM internal error. Suberror: 1' >&2");
  EXPECT_FALSE(runs_guests(qemu, Accelerator::kvm, directory.path()));
}

TEST(Accelerator, isNotKvmWhereQemuEndsAtOnce) {
  const TemporaryDirectory directory;
  const auto qemu = qemu_that(directory.path(), "exit 1");
  EXPECT_FALSE(runs_guests(qemu, Accelerator::kvm, directory.path()));
}

TEST(Accelerator, isKeptForOneQemuAndOneBoot) {
  const TemporaryDirectory directory;
  const auto cache = directory.path() / "accelerator";
  const auto absent = (directory.path() / "no-qemu").string();
  std::string boot;
  std::getline(std::ifstream{"/proc/sys/kernel/random/boot_id"}, boot);
  std::ofstream{cache} << "7.2.22 " << boot << " kvm\n";
  EXPECT_EQ(probe_accelerator(absent, "7.2.22", cache), Accelerator::kvm);
}

}  // namespace
}  // namespace px::node
