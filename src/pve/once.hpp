#pragma once
#include "pve/client.hpp"

#include <functional>
#include <string>

/// Requests that must not take effect twice.
namespace px::pve {

/// Whether a request went out and its answer was lost on the way: find out whether it took effect.
/// False for a cancelled one, after which nothing can be found out.
bool answer_was_lost(const Error& error) noexcept;

/// A POST that makes something. When its answer is lost, `is_there` tells whether it took effect;
/// if not, it is sent once more. The arguments outlive the call.
awaitable<void> create_once(Client& client, std::string path, Params params, CallOptions options,
                            std::function<awaitable<bool>()> is_there);

/// A DELETE; fine when the thing is gone, as a repeat finds it whose first answer was lost.
awaitable<void> remove_if_there(Client& client, std::string path, Params query,
                                CallOptions options);

}  // namespace px::pve
