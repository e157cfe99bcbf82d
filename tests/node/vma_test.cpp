// The VMA format, without disks and VMs around it.
#include "node/backup/vma_reader.hpp"
#include "node/backup/vma_writer.hpp"
#include "support/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace {

using namespace px;
using namespace px::node;
using ::testing::HasSubstr;

VmaReader::Source source_of(std::string bytes) {
  return [bytes = std::move(bytes), at = std::size_t{0}](std::span<char> out) mutable {
    const auto size = std::min(out.size(), bytes.size() - at);
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), size, out.begin());
    at += size;
    return size;
  };
}

VmaHeader small_header(std::uint64_t bytes) {
  return {.uuid = "0123456789abcdef",
          .ctime = 1'700'000'000,
          .configs = {{"qemu-server.conf", "name: box\n"}},
          .devices = {{1, {"drive-scsi0", bytes}}}};
}

std::array<char, vma::cluster_size> cluster_with(std::size_t at, char what) {
  std::array<char, vma::cluster_size> out{};
  out[at] = what;
  return out;
}

/// An archive of one disk of 65 clusters and 512 bytes: more than an extent, and cut at its end.
constexpr std::uint64_t odd_size = 65 * vma::cluster_size + 512;

std::string odd_archive() {
  std::string out;
  VmaWriter writer{small_header(odd_size),
                   [&out](std::span<const char> bytes) { out.append(bytes.data(), bytes.size()); }};
  for (std::uint32_t i = 0; i < 66; ++i) {
    if (i == 3) {
      writer.add(1, i, cluster_with(4096 * 2 + 7, 'x'));
    } else if (i == 65) {
      writer.add(1, i, cluster_with(511, 'z'));
    } else {
      writer.add_zeros(1, i);
    }
  }
  writer.finish();
  return out;
}

/// The disk of an archive, all of it.
std::string disk_of(const std::string& archive) {
  VmaReader reader{source_of(archive)};
  std::string disk(reader.header().devices.at(1).bytes, '\0');
  while (reader.read_extent(
      [&disk](std::uint8_t device, std::uint64_t offset, std::span<const char> bytes) {
        ASSERT_EQ(device, 1);
        ASSERT_LE(offset + bytes.size(), disk.size());
        disk.replace(offset, bytes.size(), bytes.data(), bytes.size());
      })) {
  }
  return disk;
}

/// What is said of an archive that is not good.
std::string refusal_of(const std::string& archive) {
  try {
    disk_of(archive);
  } catch (const Error& error) {
    return error.said;
  }
  return "";
}

TEST(Vma, laysOutTheHeaderAsProxmoxDoes) {
  const auto archive = odd_archive();
  // Places and byte order by pve-qemu's vma.h.
  EXPECT_EQ(archive.substr(0, 8), std::string("VMA\0\0\0\0\1", 8));
  EXPECT_EQ(archive.substr(8, 16), "0123456789abcdef");
  EXPECT_EQ(archive.substr(24, 8), std::string("\0\0\0\0\x65\x53\xf1\x00", 8));
  EXPECT_EQ(archive.substr(48, 12), std::string("\0\0\x30\0\0\0\2\0\0\0\x32\0", 12));
  EXPECT_EQ(archive.substr(2044, 4), std::string("\0\0\0\1", 4)) << "the first text's place";
  EXPECT_EQ(archive.substr(12288, 3), std::string("\0\x11\0", 3)) << "its length, little-endian";
  EXPECT_EQ(archive.substr(12291, 17), std::string("qemu-server.conf\0", 17));
  EXPECT_EQ(archive.substr(4096 + 32 + 8, 8), std::string("\0\0\0\0\0\x41\2\0", 8)) << "disk size";
}

TEST(Vma, writesOnlyBlocksThatAreNotZero) {
  const auto archive = odd_archive();
  const std::size_t first = 12288 + 512;
  EXPECT_EQ(archive.substr(first, 8), std::string("VMAE\0\0\0\1", 8)) << "one block";
  // Mask of block 2, device 1, cluster 3.
  EXPECT_EQ(archive.substr(first + 40 + 8 * 3, 8), std::string("\0\4\0\1\0\0\0\3", 8));
  EXPECT_EQ(archive[first + 512 + 7], 'x');
  EXPECT_EQ(archive.substr(first + 512 + 4096, 4), "VMAE") << "the second extent";
  EXPECT_EQ(archive.size(), first + 2 * (512 + 4096));
}

TEST(Vma, readsBackWhatWasWritten) {
  std::string disk(odd_size, '\0');
  disk[3 * vma::cluster_size + 4096 * 2 + 7] = 'x';
  disk.back() = 'z';
  EXPECT_TRUE(disk_of(odd_archive()) == disk);
}

TEST(Vma, holdsSeveralDisksAndConfigurations) {
  auto header = small_header(1);
  header.configs["qemu-server.fw"] = "[OPTIONS]\n";
  header.devices[2] = {"drive-efidisk0", 540'672};
  std::string out;
  VmaWriter writer{header,
                   [&out](std::span<const char> bytes) { out.append(bytes.data(), bytes.size()); }};
  const VmaReader reader{source_of(out)};
  EXPECT_EQ(reader.header().configs, header.configs);
  EXPECT_EQ(reader.header().devices.at(2).name, "drive-efidisk0");
  EXPECT_EQ(reader.header().devices.at(2).bytes, 540'672U);
  EXPECT_EQ(reader.header().ctime, 1'700'000'000);
}

TEST(Vma, refusesAConfigurationThatHasNoRoom) {
  auto header = small_header(1);
  header.configs["qemu-server.conf"] = std::string(70'000, 'x');
  EXPECT_THROW((VmaWriter{header, [](std::span<const char>) {}}), Error);
}

struct Damage {
  const char* phrase;
  std::string archive;
  std::string refusal;
};

TEST(Vma, namesWhatIsWrongAndWhere) {
  const auto good = odd_archive();
  const auto changed = [&good](std::size_t at) {
    auto out = good;
    out[at] = static_cast<char>(out[at] ^ 1);
    return out;
  };
  const std::size_t first = 12288 + 512;
  const std::vector<Damage> rows{
      {"another file", "PK" + good, "VMA archive, byte 0: this is no VMA archive"},
      {"a byte of the header", changed(30), "byte 0: the header's checksum is wrong"},
      {"a byte of an extent's header", changed(first + 60),
       "byte 12800: the extent's checksum is wrong"},
      {"bytes between extents", good.substr(0, first) + "junk" + good.substr(first),
       "byte 12800: no extent starts here"},
      {"cut in the header", good.substr(0, 5000),
       "byte 0: the header ends after 5000 of 12288 bytes"},
      {"cut in an extent", good.substr(0, good.size() - 1), "an extent ends after 4095 of 4096"},
      {"cut between extents", good.substr(0, first + 512 + 4096),
       "the end, after 59 of 66 clusters of drive-scsi0"},
      {"an extent twice", good + good.substr(first), "of drive-scsi0, which has 66"}};
  for (const auto& row : rows) {
    EXPECT_THAT(refusal_of(row.archive), HasSubstr(row.refusal)) << row.phrase;
  }
}

}  // namespace
