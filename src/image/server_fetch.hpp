#pragma once
#include "image/recipe.hpp"
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "support/async.hpp"

#include <string>

/// Sources in the web that a server gets by itself.
namespace px::image {

/// The ending of the file on the server, by which it knows the format: ova, qcow2, raw, vmdk.
/// Empty: of this file it can't import, as what is compressed, or another format.
std::string extension_on_server(const Recipe& recipe);

struct ServerFetch {
  pve::NodeName node;
  pve::StorageId storage;  ///< of content type `import`
  std::string file_name;
};

/// Lets the server download `what` and check its sum. Returns why it can't, which the log tells,
/// too: it has no way there, or we have no right to ask it; empty when the file is there.
/// Cancelled, it ends the server's task. Throws Error{bad_input} when the file has another sum.
awaitable<std::string> fetch_on_server(pve::Client& client, ServerFetch where, WebSource what,
                                       Deadline limit);

}  // namespace px::image
