#include "node/faults.hpp"

namespace px::node {

namespace {

Fault::Action action_of(const std::string& name) {
  if (name == "drop_before") return Fault::Action::drop_before;
  if (name == "drop_after") return Fault::Action::drop_after;
  if (name == "delay") return Fault::Action::delay;
  if (name == "duplicate") return Fault::Action::duplicate;
  return Fault::Action::answer;
}

}  // namespace

void Faults::add(Fault fault) {
  std::regex pattern{fault.pattern};
  armed_.push_back({std::move(fault), std::move(pattern)});
}

void Faults::clear() {
  armed_.clear();
}

void Faults::reset_counters() {
  requests_.clear();
  total_ = 0;
}

std::optional<Fault> Faults::next(const std::string& method, const std::string& path,
                                  const std::string& route) {
  ++requests_[method + " " + route];
  ++total_;
  const auto text = method + " " + path;
  for (auto it = armed_.begin(); it != armed_.end(); ++it) {
    if (!std::regex_search(text, it->pattern) || ++it->seen < it->fault.nth) continue;
    auto fault = it->fault;
    armed_.erase(it);
    return fault;
  }
  return std::nullopt;
}

void Faults::add_routes(Router& router) {
  router.add({.method = "GET",
              .path = "/_control/requests",
              .params = {},
              .handler = [this](Call&) -> awaitable<json::value> {
                json::object by_route;
                for (const auto& [name, count] : requests_) by_route[name] = count;
                co_return json::object{{"total", total_}, {"requests", by_route}};
              },
              .open = true});
  router.add({.method = "POST",
              .path = "/_control/reset",
              .params = {},
              .handler = [this](Call&) -> awaitable<json::value> {
                clear();
                reset_counters();
                co_return nullptr;
              },
              .open = true});
  router.add(
      {.method = "POST",
       .path = "/_control/faults",
       .params = {{.name = "action",
                   .required = true,
                   .one_of = {"answer", "drop_before", "drop_after", "delay", "duplicate"}},
                  {.name = "pattern"},
                  {.name = "nth", .type = ParamType::integer, .minimum = 1},
                  {.name = "status", .type = ParamType::integer, .minimum = 400, .maximum = 599},
                  {.name = "message"},
                  {.name = "delay_ms", .type = ParamType::integer, .minimum = 0}},
       .handler = [this](Call& call) -> awaitable<json::value> {
         Fault fault;
         fault.action = action_of(call.text("action"));
         fault.pattern = call.text_or("pattern", ".*");
         fault.nth = static_cast<int>(call.number_or("nth", 1));
         fault.status = static_cast<int>(call.number_or("status", 500));
         fault.message = call.text_or("message", "fault");
         fault.delay = std::chrono::milliseconds{call.number_or("delay_ms", 0)};
         add(std::move(fault));
         co_return nullptr;
       },
       .open = true});
}

}  // namespace px::node
