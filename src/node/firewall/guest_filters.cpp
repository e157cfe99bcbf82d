#include "node/firewall/guest_filters.hpp"

#include "node/firewall/guest_filter.hpp"

#include <utility>

namespace px::node {

namespace {

/// Adds to `lines` what turns `now` into `wanted`.
void change(CardFilters& now, const CardFilters& wanted, std::string& lines) {
  for (const auto& [tap, filter] : wanted) {
    const auto old = now.find(tap);
    if (filter.empty()) {
      if (old != now.end()) lines += card_filter_removal(tap);
      now.erase(tap);
    } else if (old == now.end() || old->second != filter) {
      lines += filter;
      now[tap] = filter;
    }
  }
}

}  // namespace

void GuestFilters::begin(const CardFilters& wanted, const Load& load) {
  CardFilters now;
  std::string lines = guest_table();
  change(now, wanted, lines);
  load(lines);
  filters_ = std::move(now);
}

void GuestFilters::set(const CardFilters& wanted, const Load& load) {
  CardFilters now = filters_;
  std::string lines;
  change(now, wanted, lines);
  if (lines.empty()) return;
  load(lines);
  filters_ = std::move(now);
}

void GuestFilters::renew(const CardFilters& wanted, const Load& load) {
  CardFilters now = filters_;
  std::string lines;
  for (const auto& [tap, filter] : wanted) {
    if (now.erase(tap) > 0) lines += card_filter_removal(tap);
  }
  change(now, wanted, lines);
  if (lines.empty()) return;
  load(lines);
  filters_ = std::move(now);
}

}  // namespace px::node
