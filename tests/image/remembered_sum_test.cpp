// A sum is made once for a file, and anew for any change of it.
#include "image/remembered_sum.hpp"

#include "appliances.hpp"
#include "image/file_sum.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <fcntl.h>
#include <sys/stat.h>
#include <thread>

namespace px::image {
namespace {

namespace fs = std::filesystem;
using namespace px::image::testing;
using namespace std::chrono_literals;

class RememberedSum : public ::testing::Test {
 public:
  RememberedSum() { ::setenv("XDG_CACHE_HOME", (folder_ / "cache").c_str(), 1); }
  std::string sum(const fs::path& file) {
    return remembered_sum(file, "sha256", [&] {
      ++made_;
      return file_sha256(file);
    });
  }

  Folder folder_;
  int made_ = 0;
};

TEST_F(RememberedSum, isMadeOnceForAFileThatStaysAsItIs) {
  const auto file = folder_.write("a.raw", "an image");
  const auto first = sum(file);
  EXPECT_EQ(sum(file), first);
  EXPECT_EQ(made_, 2) << "it was changed just now: another change may leave no trace";
  std::this_thread::sleep_for(3s);
  EXPECT_EQ(sum(file), first);
  EXPECT_EQ(sum(file), first);
  EXPECT_EQ(made_, 3);
  struct stat seen{};
  ASSERT_EQ(::stat(file.c_str(), &seen), 0);
  folder_.write("a.raw", "an imagE");
  const timespec times[] = {seen.st_atim, seen.st_mtim};
  ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  EXPECT_NE(sum(file), first) << "of the same size and time, but another content";
}

}  // namespace
}  // namespace px::image
