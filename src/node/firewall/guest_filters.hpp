#pragma once
#include <functional>
#include <map>
#include <string>

namespace px::node {

/// By tap: what card_filter() says for it; empty for a card that is not filtered.
using CardFilters = std::map<std::string, std::string>;

/// The filters that the kernel has, and how it gets to others: in one transaction each time, which
/// names only what changes. When a transaction fails, nothing has changed.
class GuestFilters {
 public:
  /// Hands a transaction to nft(8). Throws when that refuses it.
  using Load = std::function<void(const std::string&)>;

  /// Makes the table with these filters in it, whatever was there before.
  void begin(const CardFilters& wanted, const Load& load);
  /// The filters of other taps stay.
  void set(const CardFilters& wanted, const Load& load);
  /// The same for cards that begin anew: what was let through at their taps before counts no more.
  void renew(const CardFilters& wanted, const Load& load);

 private:
  CardFilters filters_;  ///< none that is empty
};

}  // namespace px::node
