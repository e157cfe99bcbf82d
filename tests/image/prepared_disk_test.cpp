// What a server doesn't take is unpacked and converted, and nothing of it stays behind.
#include "image/prepared_disk.hpp"

#include "appliances.hpp"
#include "image/built_in.hpp"
#include "run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::image {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using namespace px::image::testing;

constexpr std::size_t disk_size = 1 << 20;

RecipeDisk disk_at(const fs::path& path) {
  const auto header = read_disk_header(path);
  return {.slot = "scsi0",
          .path = path,
          .size = fs::file_size(path),
          .format = header.format,
          .compression = header.compression,
          .capacity = header.virtual_size};
}

class Preparing : public ::testing::Test {
 public:
  Preparing() {
    ::setenv("XDG_CACHE_HOME", (folder_ / "cache").c_str(), 1);
    for (std::size_t i = 0; i < disk_size; ++i) content_ += static_cast<char>(i * i >> 8);
    raw_ = folder_.write("disk.raw", content_);
  }

  fs::path converted(const std::string& format) {
    const auto target = folder_ / ("disk." + format);
    qemu_img({"convert", "-f", "raw", "-O", format, raw_, target});
    return target;
  }
  /// What goes to the server.
  std::string bytes_of(const PreparedDisk& disk) {
    auto all = [](std::unique_ptr<pve::BodySource> source) -> awaitable<std::string> {
      std::string out;
      std::string room(1 << 16, '\0');
      while (const auto got = co_await source->read(room)) out.append(room, 0, got);
      co_return out;
    };
    return px::testing::run(all(disk.source(pool_)));
  }
  std::string as_raw(const std::string& bytes) {
    const auto sent = folder_.write("sent.qcow2", bytes);
    qemu_img({"convert", "-f", "qcow2", "-O", "raw", sent, folder_ / "sent.raw"});
    return read_file(folder_ / "sent.raw");
  }
  static bool nothing_is_left() {
    const auto base = cache_directory() / "unpacked";
    return !fs::exists(base) || fs::is_empty(base);
  }

  Folder folder_;
  asio::thread_pool pool_{1};
  std::string content_;
  fs::path raw_;
};

TEST_F(Preparing, leavesWhatAServerTakesAsItIs) {
  const PreparedDisk disk{disk_at(raw_)};
  EXPECT_EQ(disk.extension(), "raw");
  EXPECT_EQ(bytes_of(disk), content_);
  EXPECT_TRUE(nothing_is_left());
}

TEST_F(Preparing, takesAPartOfAFile) {
  RecipeDisk part = disk_at(raw_);
  part.offset = 4096;
  part.size = 8192;
  EXPECT_EQ(bytes_of(PreparedDisk{part}), content_.substr(4096, 8192));
}

TEST_F(Preparing, unpacksWhatIsCompressed) {
  for (const auto& [program, ending] :
       {std::pair{"gzip", "gz"}, {"xz", "xz"}, {"bzip2", "bz2"}, {"zstd", "zst"}}) {
    run_tool({program, "-q", "-k", "-f", raw_});
    const PreparedDisk disk{disk_at(raw_.string() + "." + ending)};
    EXPECT_EQ(disk.extension(), "raw") << program;
    EXPECT_EQ(disk.capacity(), disk_size) << program;
    EXPECT_EQ(bytes_of(disk), content_) << program;
    EXPECT_FALSE(nothing_is_left());
  }
  EXPECT_TRUE(nothing_is_left());
}

TEST_F(Preparing, unpacksTheDiskInATar) {
  run_tool({"tar", "-C", raw_.parent_path(), "-cJf", folder_ / "disk.tar.xz", "disk.raw"});
  const PreparedDisk disk{disk_at(folder_ / "disk.tar.xz")};
  EXPECT_EQ(disk.extension(), "raw");
  EXPECT_EQ(bytes_of(disk), content_);
}

TEST_F(Preparing, convertsWhatNoServerTakes) {
  for (const auto* format : {"vhdx", "vdi", "vpc"}) {
    const PreparedDisk disk{disk_at(converted(format))};
    EXPECT_EQ(disk.extension(), "qcow2") << format;
    // A VHD's size is a whole number of cylinders.
    EXPECT_EQ(as_raw(bytes_of(disk)).substr(0, disk_size), content_) << format;
  }
  EXPECT_TRUE(nothing_is_left());
}

TEST_F(Preparing, unpacksAndConvertsAFormatInsideACompressedFile) {
  run_tool({"gzip", "-f", converted("vdi")});
  const PreparedDisk disk{disk_at(folder_ / "disk.vdi.gz")};
  EXPECT_EQ(disk.extension(), "qcow2");
  EXPECT_EQ(as_raw(bytes_of(disk)), content_);
}

TEST_F(Preparing, namesTheFileThatIsCutOffAndLeavesNothing) {
  run_tool({"gzip", "-f", raw_});
  fs::resize_file(folder_ / "disk.raw.gz", 1000);
  try {
    PreparedDisk{disk_at(folder_ / "disk.raw.gz")};
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind, Errc::bad_input);
    EXPECT_THAT(error.what(), HasSubstr("disk.raw.gz: the gzip data can't be unpacked"));
  }
  EXPECT_TRUE(nothing_is_left());
}

TEST_F(Preparing, removesWhatAProcessLeftThatWasKilled) {
  // The largest pid that Linux gives is 4194304 (proc(5), pid_max).
  const auto left = cache_directory() / "unpacked" / "4194305-deadbeef";
  fs::create_directories(left);
  run_tool({"gzip", "-k", "-f", raw_});
  const PreparedDisk disk{disk_at(folder_ / "disk.raw.gz")};
  EXPECT_FALSE(fs::exists(left));
}

}  // namespace
}  // namespace px::image
