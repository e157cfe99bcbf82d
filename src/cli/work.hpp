#pragma once
#include "pve/client.hpp"
#include "pve/instance.hpp"
#include "support/async.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

namespace px::cli {

/// Does some work to its end. Ctrl-C and SIGTERM cancel it, so that what it holds on a server (the
/// SDN's lock) is given back; a second one ends it at once. Throws its error, or Error{cancelled}.
void work(const std::function<awaitable<void>(asio::thread_pool& pool)>& what);

/// The same with a client of a server.
void work_on(const pve::Instance& instance, std::function<awaitable<void>(pve::Client&)> work);

/// The same with all of them side by side. An error stays with its server: the result has one, or
/// nothing, for each. Throws Error{cancelled} only.
std::vector<std::optional<Error>> work_on_all(
    const std::vector<pve::Instance>& instances,
    const std::function<awaitable<void>(pve::Client&, std::size_t index)>& work);

}  // namespace px::cli
