#include "network/addresses.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::network {
namespace {

using pve::agent::Interface;
using Up = AddressWait::Up;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string mac1 = "BC:24:11:00:00:01";
const std::string mac2 = "BC:24:11:00:00:02";

FittedCard card(std::string label, std::string mac, bool dhcp, const char* fixed = nullptr) {
  FittedCard out{std::move(label), std::move(mac), pve::ZoneId::parse("abc123z"),
                 pve::VnetId::parse("abc123v0"), dhcp};
  if (fixed != nullptr) out.fixed = boost::asio::ip::make_address(fixed);
  return out;
}

const Interface loopback{"lo", "00:00:00:00:00:00", {"127.0.0.1", "::1"}};
const Interface eth0{"eth0", mac1, {"10.1.0.50", "fe80::1"}};
const Interface eth0_without{"eth0", mac1, {"fe80::1", "169.254.7.7"}};
const Interface eth1{"eth1", mac2, {"10.2.0.9"}};

struct Row {
  const char* name;
  std::vector<FittedCard> cards;
  std::vector<Interface> seen;
  AddressWait::Up state;
};

class AddressWaits : public ::testing::TestWithParam<Row> {};

TEST_P(AddressWaits, endsWhenTheGuestIsOnItsNetworks) {
  const AddressWait wait{GetParam().cards};
  EXPECT_EQ(wait.state(GetParam().seen), GetParam().state);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, AddressWaits,
    ::testing::Values(
        Row{"noCards", {}, {loopback}, Up::wholly},
        Row{"aWireWithoutAddresses", {card("wire", mac1, false)}, {eth0_without}, Up::wholly},
        Row{"noLeaseYet", {card("lan", mac1, true)}, {loopback, eth0_without}, Up::no},
        Row{"aLease", {card("lan", mac1, true)}, {loopback, eth0}, Up::wholly},
        Row{"aLeaseOfAnotherCard", {card("lan", mac1, true)}, {eth1}, Up::no},
        Row{"oneOfTwoCards",
            {card("lan", mac1, true), card("dmz", mac2, true)},
            {eth0},
            Up::partly},
        Row{"bothCards",
            {card("lan", mac1, true), card("dmz", mac2, true)},
            {eth0, eth1},
            Up::wholly},
        Row{"aWireDoesNotStandForACardWithDhcp",
            {card("lan", mac1, true), card("wire", mac2, false)},
            {eth1},
            Up::no},
        Row{"anotherAddressThanTheBooked", {card("lan", mac1, true, "10.1.0.9")}, {eth0}, Up::no},
        Row{"theBookedAddress", {card("lan", mac1, true, "10.1.0.50")}, {eth0}, Up::wholly},
        Row{"everyBookedAddressIsNeeded",
            {card("lan", mac1, true, "10.1.0.50"), card("dmz", mac2, true, "10.2.0.8")},
            {eth0, eth1},
            Up::no}),
    [](const auto& info) { return info.param.name; });

TEST(AddressWait, tellsAddressesByNetworkWithoutLinkLocalOnes) {
  const AddressWait wait{{card("lan", mac1, true), card("dmz", mac2, true)}};
  const auto found = wait.addresses({loopback, eth0});
  EXPECT_THAT(found.at("lan"), ElementsAre("10.1.0.50"));
  EXPECT_TRUE(found.at("dmz").empty());
}

TEST(AddressWait, saysWhatIsMissingAndWhatWasSeen) {
  const AddressWait wait{{card("lan", mac1, true, "10.1.0.9"), card("dmz", mac2, true)}};
  const auto text = wait.missing({loopback, eth0});
  EXPECT_THAT(text, HasSubstr("lan (BC:24:11:00:00:01) should have 10.1.0.9"));
  EXPECT_THAT(text, HasSubstr("dmz (BC:24:11:00:00:02) should have one by DHCP"));
  EXPECT_THAT(text, HasSubstr("the guest shows eth0 (BC:24:11:00:00:01) with 10.1.0.50, fe80::1"));
  EXPECT_THAT(wait.missing({loopback}), HasSubstr("the guest shows no network card"));
}

}  // namespace
}  // namespace px::network
