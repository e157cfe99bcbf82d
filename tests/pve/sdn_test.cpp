// The SDN's calls against answers as PVE 9.2 gave them (recorded exchanges 12, 24 and 27).
#include "pve/sdn.hpp"

#include "bench.hpp"
#include "pve/nodes.hpp"
#include "support/bytes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::pve {
namespace {

using namespace std::chrono_literals;
using testing::Bench;
using testing::data_reply;
using ::testing::ElementsAre;
using testing::error_of;
using testing::error_reply;
using ::testing::HasSubstr;
using testing::no_reply;
using testing::Received;
using testing::Reply;
using testing::with_server;

const std::string upid = "UPID:pve1:000011DD:0004E4F9:6B0530D2:reloadnetworkall::root@pam:";

/// Answers by method and path; a list of replies is used up, its last one stays.
struct Script {
  std::map<std::string, std::vector<Reply>> replies;

  Reply operator()(const Received& request) {
    auto& list = replies[request.method + " " + request.path()];
    if (list.empty()) return error_reply(501, "Method not implemented");
    const auto reply = list.front();
    if (list.size() > 1) list.erase(list.begin());
    return reply;
  }
};

void with_script(std::map<std::string, std::vector<Reply>> replies,
                 std::function<awaitable<void>(Bench&, Client&)> test) {
  Script script{std::move(replies)};
  with_server(std::ref(script), [&](Bench& bench) -> awaitable<void> {
    Client client{bench.executor, bench.pool, bench.instance()};
    co_await test(bench, client);
  });
}

/// The body, or the query of a DELETE, decoded.
std::string parameters_of(const Received& request) {
  const auto mark = request.target.find('?');
  return percent_decode(mark == std::string::npos ? request.body : request.target.substr(mark + 1),
                        true);
}

TEST(SdnLists, tellWhatIsPendingAndWhatItWillBe) {
  with_script(
      {{"GET /cluster/sdn/zones",
        {data_reply(
            R"([{"state":"new","digest":null,"type":"simple","zone":"zone1","pending":{"ipam":"pve","dhcp":"dnsmasq"}},
                {"type":"vlan","zone":"old"}])")}},
       {"GET /cluster/sdn/vnets",
        {data_reply(
            R"([{"type":"vnet","pending":{"alias":"net one","zone":"zone1"},"state":"new","digest":null,"vnet":"vnet1"},
                {"type":"vnet","zone":"old","pending":{},"state":"deleted","digest":null,"alias":"gone","vnet":"vnet2"}])")}},
       {"GET /cluster/sdn/vnets/vnet1/subnets",
        {data_reply(
            R"([{"subnet":"zone1-10.20.0.0-24","state":"new","pending":{"gateway":"10.20.0.1","snat":1},"vnet":"vnet1","type":"subnet"},
                {"subnet":"zone1-fd00::-64","gateway":"fd00::1","vnet":"vnet1","type":"subnet"}])")}},
       {"GET /cluster/sdn/vnets/vnet2/subnets",
        {error_reply(500, "sdn vnet 'vnet2' does not exist")}}},
      [](Bench&, Client& client) -> awaitable<void> {
        const auto zones = co_await sdn::zones(client);
        EXPECT_EQ(zones.at(0).id.text(), "zone1");
        EXPECT_EQ(zones[0].dhcp, "dnsmasq");
        EXPECT_EQ(zones[0].state, sdn::State::created);
        EXPECT_EQ(zones.at(1).type, "vlan");
        EXPECT_EQ(zones[1].state, sdn::State::applied);
        const auto vnets = co_await sdn::vnets(client);
        EXPECT_EQ(vnets.at(0).alias, "net one");
        EXPECT_EQ(vnets[0].zone.text(), "zone1");
        EXPECT_EQ(vnets.at(1).state, sdn::State::deleted);
        const auto subnets = co_await sdn::subnets(client, vnets[0].id);
        EXPECT_EQ(subnets.at(0).cidr, "10.20.0.0/24");
        EXPECT_EQ(subnets[0].gateway, "10.20.0.1");
        EXPECT_EQ(subnets.at(1).cidr, "fd00::/64");
        EXPECT_TRUE((co_await sdn::subnets(client, vnets[1].id)).empty());
      });
}

TEST(SdnWrites, sayWhatTheServerWantsAndCarryTheLocksToken) {
  with_script({{"POST /cluster/sdn/zones", {data_reply("null")}},
               {"POST /cluster/sdn/vnets", {data_reply("null")}},
               {"POST /cluster/sdn/vnets/abc123v0/subnets", {data_reply("null")}},
               {"DELETE /cluster/sdn/vnets/abc123v0", {data_reply("null")}}},
              [](Bench& bench, Client& client) -> awaitable<void> {
                const sdn::Change change{"token"};
                const auto zone = ZoneId::parse("abc123z");
                const auto vnet = VnetId::parse("abc123v0");
                co_await sdn::create_zone(client, zone, true, change);
                co_await sdn::create_vnet(client, vnet, zone, "a b", change);
                sdn::NewSubnet subnet{vnet, zone, "192.168.7.0/24", "192.168.7.1", true};
                subnet.dhcp_ranges = {{"192.168.7.50", "192.168.7.100"}};
                co_await sdn::create_subnet(client, subnet, change);
                co_await sdn::remove_vnet(client, vnet, {});
                std::vector<std::string> sent;
                for (const auto& request : bench.server.received())
                  sent.push_back(parameters_of(request));
                EXPECT_THAT(
                    sent,
                    ElementsAre("type=simple&zone=abc123z&ipam=pve&dhcp=dnsmasq&lock-token=token",
                                "vnet=abc123v0&zone=abc123z&alias=a b&lock-token=token",
                                "type=subnet&subnet=192.168.7.0/24&gateway=192.168.7.1&snat=1&"
                                "dhcp-range=start-address=192.168.7.50,end-address=192.168.7.100&"
                                "lock-token=token",
                                ""));
              });
}

TEST(SdnCreate, thatExistsIsAlreadyExistsSoThatAnotherNameIsTaken) {
  with_script({{"POST /cluster/sdn/zones",
                {error_reply(500,
                             "create sdn zone object failed: sdn zone object ID 'zone1' already "
                             "defined")}}},
              [](Bench&, Client& client) -> awaitable<void> {
                const auto error =
                    co_await error_of(sdn::create_zone(client, ZoneId::parse("zone1"), false, {}));
                EXPECT_EQ(error.kind, Errc::already_exists) << error.what();
              });
}

TEST(SdnCreate, whoseAnswerIsLostIsLookedForBeforeItIsSentAgain) {
  const auto here = data_reply(R"([{"zone":"zone1","type":"simple","state":"new","pending":{}}])");
  struct Row {
    std::string phrase;
    Reply list;
    int posts;
  };
  for (const auto& row : {Row{"it took effect", here, 1}, Row{"it did not", data_reply("[]"), 2}}) {
    SCOPED_TRACE(row.phrase);
    with_script({{"POST /cluster/sdn/zones", {no_reply(), data_reply("null")}},
                 {"GET /cluster/sdn/zones", {row.list}}},
                [&](Bench& bench, Client& client) -> awaitable<void> {
                  co_await sdn::create_zone(client, ZoneId::parse("zone1"), false, {});
                  EXPECT_EQ(bench.server.count("POST", "/cluster/sdn/zones"), row.posts);
                });
  }
}

TEST(SdnCreate, thatAnotherHadDoneBeforeIsNotTakenForOurs) {
  with_script({{"POST /cluster/sdn/vnets",
                {no_reply(), error_reply(500, "sdn vnet object ID 'abc123v0' already defined")}},
               {"GET /cluster/sdn/vnets",
                {data_reply(R"([{"vnet":"abc123v0","zone":"other","alias":"theirs"}])")}}},
              [](Bench&, Client& client) -> awaitable<void> {
                const auto error = co_await error_of(sdn::create_vnet(
                    client, VnetId::parse("abc123v0"), ZoneId::parse("abc123z"), "ours", {}));
                EXPECT_EQ(error.kind, Errc::already_exists) << error.what();
              });
}

TEST(SdnRemove, ofWhatIsGoneIsDone) {
  with_script({{"DELETE /cluster/sdn/zones/zone1",
                {error_reply(500, "delete sdn zone object failed: sdn 'zone1' does not exist")}}},
              [](Bench&, Client& client) -> awaitable<void> {
                co_await sdn::remove_zone(client, ZoneId::parse("zone1"), {});
              });
}

TEST(SdnWrite, waitsForTheLockOfSomeoneElse) {
  with_script({{"POST /cluster/sdn/zones",
                {error_reply(500,
                             "create sdn zone object failed: invalid lock token provided! at "
                             "/usr/share/perl5/PVE/Network/SDN.pm line 291."),
                 data_reply("null")}}},
              [](Bench& bench, Client& client) -> awaitable<void> {
                co_await sdn::create_zone(client, ZoneId::parse("zone1"), false, {});
                EXPECT_EQ(bench.server.count("POST", "/cluster/sdn/zones"), 2);
              });
}

std::map<std::string, std::vector<Reply>> apply_with_log(const std::string& log) {
  const std::string task = "/nodes/pve1/tasks/" + percent_encode(upid);
  return {{"PUT /cluster/sdn", {data_reply('"' + upid + '"')}},
          {"GET " + task + "/status", {data_reply(R"({"status":"stopped","exitstatus":"OK"})")}},
          {"GET " + task + "/log", {data_reply(log)}}};
}

TEST(SdnApply, givesTheLockBackWithTheRequest) {
  with_script(
      apply_with_log(R"([{"n":1,"t":"pve1: reloading network config"},{"n":2,"t":"TASK OK"}])"),
      [](Bench& bench, Client& client) -> awaitable<void> {
        sdn::Lock lock;
        lock.note_token("token");
        co_await sdn::apply(client, lock, Deadline::after(10s));
        EXPECT_FALSE(lock.token());
        EXPECT_EQ(parameters_of(bench.server.received().at(0)), "lock-token=token&release-lock=1");
      });
}

TEST(SdnApply, thatFailedOnANodeThoughItsTaskSaysOkNamesNodeAndReason) {
  with_script(apply_with_log(R"([{"n":1,"t":"pve1: reloading network config"},
                         {"n":2,"t":"command 'ifreload -a' failed: exit code 1"},
                         {"n":3,"t":"TASK OK"}])"),
              [](Bench&, Client& client) -> awaitable<void> {
                sdn::Lock lock;
                const auto error =
                    co_await error_of(sdn::apply(client, lock, Deadline::after(10s)));
                EXPECT_EQ(error.kind, Errc::task_failed);
                EXPECT_EQ(error.said, "node pve1: command 'ifreload -a' failed: exit code 1");
              });
}

TEST(SdnApply, withoutDnsmasqSaysHowToInstallIt) {
  with_script(apply_with_log(R"([{"n":1,"t":"pve1: reloading network config"},
                                 {"n":2,"t":"cannot reload with missing 'dnsmasq' package"}])"),
              [](Bench&, Client& client) -> awaitable<void> {
                sdn::Lock lock;
                const auto error =
                    co_await error_of(sdn::apply(client, lock, Deadline::after(10s)));
                EXPECT_THAT(error.hint, HasSubstr("apt install dnsmasq"));
              });
}

TEST(SdnBookings, areReadAsTheServerWritesThem) {
  with_script(
      {{"GET /cluster/sdn/ipams/pve/status",
        {data_reply(
            R"([{"gateway":1,"vnet":"vnet1","ip":"10.20.0.1","zone":"zone1","subnet":"10.20.0.0/24"},
                {"vnet":"vnet1","zone":"zone1","hostname":"linked1","subnet":"10.20.0.0/24","vmid":101,"ip":"10.20.0.50","mac":"BC:24:11:04:7B:0F"}])")}}},
      [](Bench&, Client& client) -> awaitable<void> {
        const auto bookings = co_await sdn::bookings(client);
        EXPECT_TRUE(bookings.at(0).is_gateway);
        EXPECT_EQ(bookings.at(1).ip, "10.20.0.50");
        EXPECT_EQ(bookings[1].mac, "BC:24:11:04:7B:0F");
        EXPECT_EQ(bookings[1].vmid, Vmid::parse("101"));
      });
}

TEST(SdnBooking, thatAnotherCardHasIsAlreadyExistsButARepeatOfOursIsDone) {
  const auto taken = error_reply(500, "IP '10.61.0.52' already exist");
  const auto list = data_reply(
      R"([{"vnet":"ev1","zone":"ez1","ip":"10.61.0.52","mac":"BC:24:11:E0:00:01","vmid":312}])");
  with_script(
      {{"PUT /cluster/sdn/vnets/ev1/ips", {taken}}, {"GET /cluster/sdn/ipams/pve/status", {list}}},
      [](Bench&, Client& client) -> awaitable<void> {
        const auto zone = ZoneId::parse("ez1");
        const auto vnet = VnetId::parse("ev1");
        const auto vmid = Vmid::parse("312");
        const auto limit = Deadline::after(5s);
        co_await sdn::move_booking(client, zone, vnet, "BC:24:11:E0:00:01", "10.61.0.52", vmid,
                                   limit);
        const auto error = co_await error_of(
            sdn::move_booking(client, zone, vnet, "BC:24:11:E0:00:02", "10.61.0.52", vmid, limit));
        EXPECT_EQ(error.kind, Errc::already_exists);
      });
}

TEST(NodeInterfaces, tellTheNetworksThatTheNodeIsIn) {
  with_script({{"GET /nodes/pve1/network",
                {data_reply(
                    R"([{"active":1,"iface":"vmbr0","type":"bridge","cidr":"10.99.0.2/24"},
                        {"iface":"nic0","type":"eth"}])")}}},
              [](Bench&, Client& client) -> awaitable<void> {
                const auto list = co_await nodes::interfaces(client, NodeName::parse("pve1"));
                EXPECT_THAT(list.at(0).cidrs, ElementsAre("10.99.0.2/24"));
                EXPECT_TRUE(list.at(1).cidrs.empty());
              });
}

}  // namespace
}  // namespace px::pve
