#pragma once
#include "pve/connection.hpp"
#include "pve/wire.hpp"

namespace px::pve {

/// Turns a new connection into a WebSocket by a GET of `request.target` with its headers. `host` as
/// the header of that name has it. Throws what classify() makes of a refusal, and
/// boost::system::system_error.
awaitable<std::unique_ptr<WebSocket>> upgrade(std::unique_ptr<Wire> wire, HttpRequest request,
                                              std::string host);

}  // namespace px::pve
