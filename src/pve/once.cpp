#include "pve/once.hpp"

#include "support/log.hpp"

namespace px::pve {

bool answer_was_lost(const Error& error) noexcept {
  return error.sent == Sent::maybe &&
         (error.kind == Errc::unreachable || error.kind == Errc::proxy);
}

awaitable<void> create_once(Client& client, std::string path, Params params, CallOptions options,
                            std::function<awaitable<bool>()> is_there) {
  std::optional<Error> lost;
  try {
    co_await client.post(path, params, options);
  } catch (const Error& error) {
    if (!answer_was_lost(error)) throw;
    lost = error;
  }
  if (!lost) co_return;
  log::debug("{}: {}; looking whether it is there", options.doing, lost->said);
  if (co_await is_there()) co_return;
  try {
    co_await client.post(path, std::move(params), options);
    co_return;
  } catch (const Error& error) {
    // The first request was slower than our look.
    if (error.kind != Errc::already_exists) throw;
    lost = error;
  }
  if (!co_await is_there()) throw *lost;
}

awaitable<void> remove_if_there(Client& client, std::string path, Params query,
                                CallOptions options) {
  options.repeatable = true;
  try {
    co_await client.del(std::move(path), std::move(query), std::move(options));
  } catch (const Error& error) {
    if (error.kind != Errc::not_found) throw;
  }
}

}  // namespace px::pve
