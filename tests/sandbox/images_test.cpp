// Which images on a server can go.
#include "sandbox/images.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::sandbox {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;

pve::VmRef vm(int number) {
  return {pve::NodeName::parse("pve"), pve::Vmid::from_number(number)};
}

RunLife life_of(const std::string& run) {
  if (run == "aaaaaaaa") return {Life::alive, {}};
  if (run == "dddddddd") return {Life::dead, {}};
  return {};
}

image::Inventory stock() {
  image::Inventory out;
  out.templates.push_back({vm(101), "inspect-used", "ova-used-1", "inspect-src-1", true, "", {}});
  out.templates.back().clones.push_back(pve::Vmid::from_number(201));
  out.templates.push_back({vm(102), "inspect-free", "ova-free-1", "inspect-src-2", true, "", {}});
  out.templates.push_back({vm(103), "inspect-now", "", "inspect-src-3", false, "aaaaaaaa", {}});
  out.templates.push_back({vm(104), "inspect-lost", "", "inspect-src-4", false, "dddddddd", {}});
  out.templates.push_back({vm(105), "inspect-far", "", "inspect-src-5", false, "ffffffff", {}});
  out.uploads.push_back({pve::VolumeId::parse("local:import/now.raw"), "aaaaaaaa", 5});
  out.uploads.push_back({pve::VolumeId::parse("local:import/lost.raw"), "dddddddd", 5});
  out.media.push_back({pve::VolumeId::parse("local:iso/used.iso"), 5});
  out.media.back().users.push_back(pve::Vmid::from_number(201));
  out.media.push_back({pve::VolumeId::parse("local:iso/free.iso"), 5});
  return out;
}

TEST(UnusedImages, areTemplatesWithoutClonesAndWhatTheDeadLeft) {
  const auto choice = unused_images(stock(), life_of);
  EXPECT_THAT(choice.remove,
              ElementsAre(Field(&ImageChoice::Item::what, "template 102 (inspect-free)"),
                          Field(&ImageChoice::Item::what, "VM 104 (inspect-lost)"),
                          Field(&ImageChoice::Item::what, "upload local:import/lost.raw"),
                          Field(&ImageChoice::Item::what, "medium local:iso/free.iso")));
  EXPECT_THAT(choice.keep, ElementsAre(Field(&ImageChoice::Item::why, "VM 201 is made of it"),
                                       Field(&ImageChoice::Item::why, "run aaaaaaaa makes it"),
                                       Field(&ImageChoice::Item::why,
                                             "run ffffffff, of elsewhere, may be making it"),
                                       Field(&ImageChoice::Item::why, "run aaaaaaaa uses it"),
                                       Field(&ImageChoice::Item::why, "VM 201 has it in a drive")));
}

TEST(NamedImages, areFoundByNumberTagAndName) {
  for (const auto* name : {"102", "ova-free-1", "inspect-src-2", "inspect-free"}) {
    const auto choice = named_images(stock(), {name}, life_of);
    EXPECT_THAT(choice.remove,
                ElementsAre(Field(&ImageChoice::Item::what, "template 102 (inspect-free)")))
        << name;
    EXPECT_THAT(choice.unknown, IsEmpty());
  }
}

TEST(NamedImages, stayWhereTheyHaveClones) {
  const auto choice = named_images(stock(), {"101"}, life_of);
  EXPECT_THAT(choice.remove, IsEmpty());
  EXPECT_THAT(choice.keep, ElementsAre(Field(&ImageChoice::Item::why, "VM 201 is made of it")));
}

TEST(NamedImages, areVolumesOfSeeds) {
  EXPECT_THAT(named_images(stock(), {"local:iso/free.iso"}, life_of).remove,
              ElementsAre(Field(&ImageChoice::Item::what, "medium local:iso/free.iso")));
}

TEST(NamedImages, thatNobodyHasAreTold) {
  EXPECT_THAT(named_images(stock(), {"999"}, life_of).unknown, ElementsAre("999"));
}

}  // namespace
}  // namespace px::sandbox
