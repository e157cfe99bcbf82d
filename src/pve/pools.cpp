#include "pve/pools.hpp"

namespace px::pve::pools {

awaitable<std::vector<Pool>> list(Client& client) {
  const auto data = co_await client.get("/pools", {}, {.load = Load::light});
  std::vector<Pool> out;
  if (!data.is_array()) co_return out;
  for (const auto& entry : data.get_array()) {
    out.push_back({json::text_at(entry, "poolid"), json::text_or(entry, "comment")});
  }
  co_return out;
}

awaitable<void> create(Client& client, std::string id, std::string comment, Deadline limit) {
  co_await client.post("/pools",
                       Params{}.add("poolid", id).add_if(!comment.empty(), "comment", comment),
                       {.deadline = limit});
}

awaitable<void> set_comment(Client& client, std::string id, std::string comment, Deadline limit) {
  co_await client.put("/pools", Params{}.add("poolid", id).add("comment", comment),
                      {.deadline = limit, .repeatable = true});
}

awaitable<void> remove(Client& client, std::string id, Deadline limit) {
  // The query form also takes nested pools (`a/b`); /pools/{poolid} does not.
  co_await client.del("/pools", Params{}.add("poolid", id),
                      {.deadline = limit, .repeatable = true});
}

awaitable<std::vector<VmRef>> members(Client& client, std::string id) {
  const auto data =
      co_await client.get("/pools", Params{}.add("poolid", id), {.load = Load::light});
  std::vector<VmRef> out;
  if (!data.is_array() || data.get_array().empty()) co_return out;
  const auto* list = json::find(data.get_array().front(), "members");
  if (list == nullptr || !list->is_array()) co_return out;
  for (const auto& entry : list->get_array()) {
    if (json::text_or(entry, "type") != "qemu") continue;
    out.push_back({NodeName::parse(json::text_at(entry, "node")),
                   Vmid::from_number(json::number_at(entry, "vmid"))});
  }
  co_return out;
}

}  // namespace px::pve::pools
