#include "pve/ids.hpp"

#include "support/error.hpp"

#include <gtest/gtest.h>

#include <unordered_set>

namespace px::pve {
namespace {

struct Row {
  std::string phrase;
  std::string text;
  bool good;
};

template <class T>
void expect_rows(const std::vector<Row>& rows) {
  for (const auto& row : rows) {
    SCOPED_TRACE(row.phrase);
    if (row.good) {
      EXPECT_EQ(T::parse(row.text).text(), row.text);
      continue;
    }
    try {
      T::parse(row.text);
      ADD_FAILURE() << "accepted: " << row.text;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind, Errc::bad_input);
      EXPECT_NE(e.said.find('"' + row.text + '"'), std::string::npos) << e.said;
    }
  }
}

TEST(SdnIdText, hasTwoToEightLettersAndDigitsALetterFirst) {
  expect_rows<ZoneId>({
      {"two", "z1", true},
      {"eight, upper case", "Abc123v0", true},
      {"one", "z", false},
      {"nine", "abc123v00", false},
      {"a digit first", "1zone", false},
      {"a hyphen", "my-zone", false},
      {"nothing", "", false},
  });
}

TEST(VmidText, takesNumbersInTheRangeOfTheServer) {
  expect_rows<Vmid>({
      {"smallest", "100", true},
      {"largest", "999999999", true},
      {"too small", "99", false},
      {"too large", "1000000000", false},
      {"empty", "", false},
      {"leading zero", "0100", false},
      {"sign", "+100", false},
      {"blank behind", "100 ", false},
      {"beyond 64 bits", "99999999999999999999", false},
      {"hexadecimal", "0x100", false},
  });
  EXPECT_EQ(Vmid::from_number(142).number(), 142u);
  EXPECT_THROW(Vmid::from_number(-100), Error);
}

TEST(NodeNameText, isOneDnsLabel) {
  expect_rows<NodeName>({
      {"usual", "pve1", true},
      {"one letter", "a", true},
      {"digits first", "1node", true},
      {"inner hyphen", "pve-a-1", true},
      {"63 characters", std::string(63, 'a'), true},
      {"64 characters", std::string(64, 'a'), false},
      {"empty", "", false},
      {"hyphen first", "-pve", false},
      {"hyphen last", "pve-", false},
      {"domain", "pve1.example.com", false},
      {"slash", "pve/1", false},
      {"not ASCII", "pvé", false},
  });
}

TEST(StorageIdText, beginsWithALetter) {
  expect_rows<StorageId>({
      {"usual", "local-lvm", true},
      {"dots and underscores", "nfs_1.a", true},
      {"digit first", "1nfs", false},
      {"one letter", "a", false},
      {"hyphen last", "local-", false},
      {"colon", "local:iso", false},
  });
}

TEST(VolumeIdText, isAStorageAndARest) {
  expect_rows<VolumeId>({
      {"file", "local:iso/a.iso", true},
      {"logical volume", "local-lvm:vm-100-disk-0", true},
      {"linked clone", "local:100/base-100-disk-0.qcow2/101/vm-101-disk-0.qcow2", true},
      {"no colon", "local", false},
      {"no rest", "local:", false},
      {"no storage", ":iso/a.iso", false},
      {"blank", "local:iso/a b.iso", false},
      {"line feed", "local:iso/a\n", false},
  });
  const auto volume = VolumeId::parse("local:iso/a.iso");
  EXPECT_EQ(volume.storage().text(), "local");
  EXPECT_EQ(volume.rest(), "iso/a.iso");
  EXPECT_EQ(VolumeId::of(StorageId::parse("local"), "iso/a.iso"), volume);
}

TEST(UpidText, isParsedStrictly) {
  expect_rows<Upid>({
      {"clone", "UPID:pve1:0000AB12:00345678:68A1B2C3:qmclone:142:root@pam:", true},
      {"by a token", "UPID:pve1:0000AB12:00345678:68A1B2C3:qmstart:142:root@pam!x:", true},
      {"empty id", "UPID:pve1:0000AB12:00345678:68A1B2C3:imgcopy::root@pam:", true},
      {"id with owner", "UPID:pve1:0000AB12:00345678:68A1B2C3:imgdel:999@local:root@pam:", true},
      {"long uptime gives nine digits",
       "UPID:pve:0000AB12:123456789:68A1B2C3:qmclone:1:a@pve:", true},
      {"empty node", "UPID::0000AB12:00345678:68A1B2C3:qmstart:1:root@pam:", false},
      {"short pid", "UPID:pve:AB12:00345678:68A1B2C3:qmstart:1:root@pam:", false},
      {"ten digits of pstart", "UPID:pve:0000AB12:1234567890:68A1B2C3:qmstart:1:root@pam:", false},
      {"no hexadecimal", "UPID:pve:0000ABXY:00345678:68A1B2C3:qmstart:1:root@pam:", false},
      {"no type", "UPID:pve:0000AB12:00345678:68A1B2C3::1:root@pam:", false},
      {"no user", "UPID:pve:0000AB12:00345678:68A1B2C3:qmstart:1::", false},
      {"no colon at the end", "UPID:pve:0000AB12:00345678:68A1B2C3:qmstart:1:root@pam", false},
      {"something behind", "UPID:pve:0000AB12:00345678:68A1B2C3:qmstart:1:root@pam:x", false},
      {"a further part", "UPID:pve:0000AB12:00345678:68A1B2C3:qmstart:1:root@pam:x:", false},
      {"lower-case mark", "upid:pve:0000AB12:00345678:68A1B2C3:qmstart:1:root@pam:", false},
      {"blank in id", "UPID:pve:0000AB12:00345678:68A1B2C3:qmstart:1 2:root@pam:", false},
      {"line feed behind", "UPID:pve:0000AB12:00345678:68A1B2C3:qmstart:1:root@pam:\n", false},
      {"empty", "", false},
      {"only colons", "::::::::", false},
  });
}

TEST(UpidText, tellsWhatSurelyStartedBefore) {
  const auto upid = [](const char* ticks, const char* seconds) {
    return Upid::parse(
        fmt::format("UPID:pve1:0000AB12:{}:{}:qmstart:142:root@pam:", ticks, seconds));
  };
  const auto task = upid("00345678", "68A1B2C3");
  EXPECT_TRUE(upid("00345677", "68A1B2C3").started_before(task)) << "within the same second";
  EXPECT_FALSE(task.started_before(task));
  EXPECT_FALSE(upid("100345678", "68A1B2C3").started_before(task)) << "nine digits";
  EXPECT_FALSE(upid("00000001", "68A1B2C4").started_before(task)) << "the node restarted";
}

TEST(UpidText, givesItsParts) {
  const auto upid = Upid::parse("UPID:pve1:0000AB12:00345678:68A1B2C3:qmclone:142:root@pam!x:");
  EXPECT_EQ(upid.node().text(), "pve1");
  EXPECT_EQ(upid.start_time(), 0x68A1B2C3);
  EXPECT_EQ(upid.type(), "qmclone");
  EXPECT_EQ(upid.id(), "142");
  EXPECT_EQ(upid.user(), "root@pam!x");
}

TEST(Names, printCompareAndHash) {
  EXPECT_EQ(fmt::format("{} on {}", Vmid::parse("142"), NodeName::parse("pve1")), "142 on pve1");
  EXPECT_LT(Vmid::parse("142"), Vmid::parse("1000"));
  std::unordered_set<Vmid> seen{Vmid::parse("142"), Vmid::parse("142"), Vmid::parse("143")};
  EXPECT_EQ(seen.size(), 2u);
}

}  // namespace
}  // namespace px::pve
