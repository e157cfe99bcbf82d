#include "image/manifest.hpp"

#include "support/error.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::image {
namespace {

using ::testing::HasSubstr;

const std::string sha1(40, 'a');
const std::string sha256(64, 'b');
const std::string sha512(128, 'c');

TEST(Manifest, isReadInTheFormsOfItsTools) {
  const auto entries =
      parse_manifest("SHA1(box.ovf)= " + sha1 + "\nSHA256(disk 1 (new).vmdk)= " + sha256 +
                         "\r\n\nsha512 (./c) = " + sha512,
                     "box.mf");
  ASSERT_EQ(entries.size(), 3U);
  EXPECT_EQ(entries[0].file, "box.ovf");
  EXPECT_EQ(entries[0].kind, HashKind::sha1);
  EXPECT_EQ(entries[0].hex, sha1);
  EXPECT_EQ(entries[1].file, "disk 1 (new).vmdk");
  EXPECT_EQ(entries[1].kind, HashKind::sha256);
  EXPECT_EQ(entries[2].file, "c");
  EXPECT_EQ(entries[2].kind, HashKind::sha512);
}

TEST(Manifest, takesUpperCaseSums) {
  EXPECT_EQ(parse_manifest("SHA1(a)= " + std::string(40, 'A'), "x").at(0).hex, sha1);
}

std::string error_of(const std::string& text) {
  try {
    parse_manifest(text, "box.ova: box.mf");
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Manifest, refusesWhatIsNoSumNamingTheLine) {
  EXPECT_THAT(error_of("SHA1(a)= " + sha1 + "\nhello"),
              HasSubstr("box.ova: box.mf, line 2: is \"hello\""));
  EXPECT_THAT(error_of("MD5(a)= " + std::string(32, 'a')), HasSubstr("is \"MD5\""));
  EXPECT_THAT(error_of("SHA256(a)= " + sha1), HasSubstr("64 hexadecimal digits"));
  EXPECT_THAT(error_of("SHA1(a)= " + std::string(40, 'x')), HasSubstr("40 hexadecimal digits"));
  EXPECT_THAT(error_of("SHA1(a)= " + sha1 + "\nSHA1(./a)= " + sha1), HasSubstr("named twice"));
  EXPECT_THAT(error_of(")SHA1(="), HasSubstr("looks like"));
}

}  // namespace
}  // namespace px::image
