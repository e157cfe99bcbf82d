#pragma once
#include "support/error.hpp"

#include <string_view>

namespace px::pve {

/// Turns an error answer (status >= 400) into an Error: kind, sent, status, method, path, the
/// server's words, its messages for parameters, and a hint where one helps.
///
/// Nearly every failure that is no parameter check is a 500 whose text is the only discriminator
/// (pve-facts section 2). `path` is without query.
Error classify(int status, std::string_view reason, std::string_view body, std::string_view method,
               std::string_view path);

/// The kind that a server's text means (a 500's message, or a task's exitstatus), or `otherwise`.
Errc kind_of_text(std::string_view text, Errc otherwise) noexcept;

}  // namespace px::pve
