// Many evaluations at once on one server, each a process of its own, all in need of the same
// template, which is not there yet.
#include "evaluation/child.hpp"
#include "sweep/rounds.hpp"
#include "sweep/swept_node.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <regex>
#include <sstream>

namespace px::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::IsEmpty;

/// A VM in a network of a range that we choose.
const std::string one_vm = R"({"vms_config": [
    {"vm_source_config": {"built_in": "debian13-small"}}]})";

/// A line of an evaluation's output.
struct Used {
  int vmid = 0;
  std::string range;  ///< "192.168.7"
  std::int64_t from = 0;
  std::int64_t to = 0;

  bool clashes_with(const Used& other) const {
    return from < other.to && other.from < to && (vmid == other.vmid || range == other.range);
  }
};

std::vector<Used> uses_in(const std::string& output) {
  std::vector<Used> out;
  std::istringstream lines{output};
  Used used;
  std::string address;
  while (lines >> used.vmid >> address >> used.from >> used.to) {
    used.range = address.substr(0, address.rfind('.'));
    out.push_back(used);
  }
  return out;
}

class ManyProcesses : public ::testing::Test {
 public:
  ManyProcesses() {
    offer_built_in(directory_.path());
    node_.settle();
    node_.arm(1'000'000, "action=delay");  // counts from here
  }

  std::map<std::string, std::string> variables() const {
    auto out = node_.node().variables();
    out["PROXMOX_SANDBOX_IMAGES"] = directory_.path();
    out["XDG_STATE_HOME"] = directory_.path();
    out["PROXMOX_MAX_SANDBOXES"] = "1";
    return out;
  }
  void start(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      processes_.push_back(
          std::make_unique<Child>(std::vector<std::string>{PX_EVALUATION, one_vm, "1"}, variables(),
                                  directory_.path() / fmt::format("{}.log", i)));
    }
  }
  std::int64_t requests(const std::string& route) const {
    const auto counted = node_.node().send("GET", "/_control/requests", {}).data();
    return json::number_or(counted.at("requests"), route, 0);
  }
  std::size_t tasks(const std::string& type) const {
    return node_.node()
        .call("GET", "/nodes/proxmox/tasks", "source=all&limit=10000&typefilter=" + type)
        .data()
        .as_array()
        .size();
  }
  json::array vms() const {
    return node_.node().call("GET", "/nodes/proxmox/qemu").data().as_array();
  }

  TemporaryDirectory directory_;
  SweptNode node_{directory_.path() / "node", "proxmox", willing_guest()};
  std::vector<std::unique_ptr<Child>> processes_;
};

const std::string upload_route = "POST /nodes/{node}/storage/{storage}/upload";

TEST_F(ManyProcesses, makeTheTemplateOnceAndShareNoNumberAndNoRange) {
  constexpr std::size_t many = 50 / one_in;
  start(many);
  std::vector<Used> uses;
  for (auto& process : processes_) {
    EXPECT_EQ(process->wait(), 0) << process->output();
    for (auto& used : uses_in(process->output())) uses.push_back(std::move(used));
  }
  EXPECT_EQ(uses.size(), many);
  for (std::size_t i = 0; i < uses.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      EXPECT_FALSE(uses[i].clashes_with(uses[j]))
          << uses[i].vmid << " " << uses[i].range << ", " << uses[j].vmid << " " << uses[j].range;
    }
  }
  EXPECT_EQ(tasks("qmcreate"), 2U) << "the stranger's VM, and one template";
  EXPECT_EQ(requests(upload_route), 1);
  EXPECT_EQ(vms().size(), 2U);
  EXPECT_THAT(node_.leftovers(), IsEmpty());
}

/// The process that makes a template, by the mark of its VM and the record of its run.
pid_t maker_of_the_template(const NodeUnderTest& node) {
  static const std::regex mark{"inspect-run: ([0-9a-f]{8})"};
  static const std::regex owner{"process ([0-9]+)"};
  std::smatch run;
  std::smatch process;
  const auto vms = node.call("GET", "/nodes/proxmox/qemu").data();
  for (const auto& vm : vms.as_array()) {
    const auto path = fmt::format("/nodes/proxmox/qemu/{}/config", json::number_at(vm, "vmid"));
    const auto text = json::text_or(node.call("GET", path).data(), "description");
    if (!std::regex_search(text, run, mark)) continue;
    const auto pool = fmt::format("/pools/inspect-{}-auto", run[1].str());
    const auto comment = json::text_or(node.call("GET", pool).data(), "comment");
    if (std::regex_search(comment, process, owner)) return std::stoi(process[1].str());
  }
  return 0;
}

TEST_F(ManyProcesses, goOnWhenTheOneThatMakesTheTemplateIsKilled) {
  // It hangs while its disk is imported.
  node_.arm(1, "action=delay&delay_ms=600000&pattern=POST+.*/qemu/[0-9]%2B/config$");
  start(6);
  for (int i = 0; i < 6000 && requests("POST /nodes/{node}/qemu/{vmid}/config") == 0; ++i) {
    std::this_thread::sleep_for(10ms);
  }
  const auto maker = maker_of_the_template(node_.node());
  ASSERT_NE(maker, 0);
  ::kill(maker, SIGKILL);
  for (auto& process : processes_) {
    const int wanted = process->pid() == maker ? 128 + SIGKILL : 0;
    EXPECT_EQ(process->wait(), wanted) << process->output();
  }
  EXPECT_EQ(vms().size(), 2U) << "the stranger's, and one template";
  Child cleanup{
      {PX_COMMAND, "cleanup", "--dead", "--yes"}, variables(), directory_.path() / "cleanup.log"};
  EXPECT_EQ(cleanup.wait(), 0);
  EXPECT_THAT(node_.leftovers(), IsEmpty()) << cleanup.output();
}

}  // namespace
}  // namespace px::testing
