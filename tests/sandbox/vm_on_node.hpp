#pragma once
#include "environment.hpp"
#include "node_under_test.hpp"
#include "run.hpp"
#include "sandbox/run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace px::sandbox {

/// A node with simulated machines and a client of it.
class VmOnNode : public ::testing::Test {
 public:
  VmOnNode() { px::testing::offer_built_in(images_.path()); }

  Environment environment() { return px::testing::environment_of(node_.variables()); }

  /// Waits for the task that a call begins.
  void finish(const px::testing::Reply& reply) {
    ASSERT_EQ(reply.status, 200) << reply.reason << reply.body;
    ASSERT_EQ(node_.end_of_task(reply.text()), "OK");
  }
  void make_template(int vmid, const std::string& more) {
    finish(node_.call("POST", "/nodes/proxmox/qemu",
                      fmt::format("vmid={}&tags=victim&agent=1{}", vmid, more)));
    finish(node_.call("POST", fmt::format("/nodes/proxmox/qemu/{}/template", vmid)));
  }
  json::object config(std::uint32_t vmid) {
    return node_.call("GET", fmt::format("/nodes/proxmox/qemu/{}/config", vmid)).data().as_object();
  }

  /// The address that is booked for a MAC; empty for none.
  std::string booked(const std::string& mac) {
    const auto all = node_.call("GET", "/cluster/sdn/ipams/pve/status").data();
    for (const auto& entry : all.as_array()) {
      if (json::text_or(entry, "mac") == mac) return json::text_at(entry, "ip");
    }
    return "";
  }
  std::size_t vnets() {
    return node_.call("GET", "/cluster/sdn/vnets", "pending=1").data().as_array().size();
  }

  px::testing::TemporaryDirectory images_;
  px::testing::NodeUnderTest node_;
  asio::thread_pool pool_{1};
};

}  // namespace px::sandbox
