#include "pve/classify.hpp"

#include "support/json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace px::pve {

namespace {

struct Rule {
  std::string_view text;  ///< as it stands in the server's message
  Errc kind;
};

/// The first that fits counts. Texts: pve-facts sections 2, 4, 5, 7, 9 and 15.
constexpr std::array rules{
    // Guest agent
    Rule{"No QEMU guest agent configured", Errc::unsupported},
    Rule{"QEMU guest agent is not running", Errc::agent_down},
    Rule{" qga command ", Errc::agent_down},
    Rule{" qga socket ", Errc::agent_down},
    Rule{"Agent error: Invalid parameter 'pid'", Errc::not_found},
    Rule{"has been disabled", Errc::unsupported},
    Rule{"Agent error: The command ", Errc::unsupported},  // ... has not been found
    // Locks
    Rule{"can't lock file", Errc::busy},
    Rule{"got lock request timeout", Errc::busy},
    Rule{"got lock timeout", Errc::busy},
    Rule{"is locked", Errc::busy},
    Rule{"could not acquire lock", Errc::busy},
    Rule{"can't acquire lock", Errc::busy},
    // Every apply of the SDN restarts all of a node's dnsmasq (pve-practice section 5).
    Rule{"was not provided by any .service files", Errc::busy},
    Rule{"invalid lock token provided", Errc::busy},  // someone else holds the SDN's lock
    // Names
    Rule{"already exist", Errc::already_exists},
    Rule{"already defined", Errc::already_exists},
    Rule{"already used", Errc::already_exists},
    // A clone's task where another node of the cluster has the number: "close (rename) atomic file
    // '/etc/pve/nodes/pve1/qemu-server/100.conf' failed: File exists" (PVE::Tools, pmxcfs).
    Rule{"' failed: File exists", Errc::already_exists},
    Rule{"does not exist", Errc::not_found},
    Rule{"unable to find configuration file", Errc::not_found},
    Rule{"no such ", Errc::not_found},
    Rule{"no rule at position", Errc::not_found},  // pve-firewall API2/Firewall/Rules.pm
    Rule{"can't find any subnet for ip", Errc::not_found},
    Rule{"No such storage", Errc::not_found},
    Rule{"can't find file", Errc::not_found},
    Rule{"failed to stat", Errc::not_found},
    Rule{"hostname lookup", Errc::not_found},  // of an unknown node
    // State, rights, abilities
    Rule{"not running", Errc::unavailable},
    Rule{"nly root ", Errc::forbidden},
    Rule{"Permission check failed", Errc::forbidden},
    Rule{"Linked clone feature is not supported", Errc::unsupported},
    Rule{"does not support", Errc::unsupported},
    Rule{"Parameter verification failed", Errc::rejected},
    Rule{"not allowed for linked clones", Errc::rejected},
    Rule{"no options specified", Errc::rejected},
    Rule{"Wide character", Errc::rejected},
};

/// errno texts of the guest, behind "Agent error:".
constexpr std::array guest_rules{
    Rule{"No such file or directory", Errc::file_not_found},
    Rule{"Not a directory", Errc::file_not_found},
    Rule{"Is a directory", Errc::is_directory},
    Rule{"Permission denied", Errc::file_permission},
    Rule{"Operation not permitted", Errc::file_permission},
    Rule{"Read-only file system", Errc::file_permission},
};

template <std::size_t N>
const Rule* first_match(const std::array<Rule, N>& table, std::string_view text) noexcept {
  const auto found = std::ranges::find_if(
      table, [&](const Rule& rule) { return text.find(rule.text) != std::string_view::npos; });
  return found == table.end() ? nullptr : &*found;
}

/// One line, without Perl's " at FILE line N." and trailing line feeds.
std::string tidy(std::string_view message) {
  std::string text{message};
  for (;;) {
    const auto at = text.find(" at /usr/share/perl5/");
    if (at == std::string::npos) break;
    const auto end = text.find('\n', at);
    text.erase(at, end == std::string::npos ? end : end - at);
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) {
    text.replace(at, 1, "; ");
  }
  return text;
}

/// Reads message and errors of an error's body; false when it is none of ours.
bool read_body(std::string_view body, std::string& message,
               std::map<std::string, std::string>& parameters) {
  boost::system::error_code broken;
  const auto answer = boost::json::parse(body, broken);
  if (broken || !answer.is_object()) return false;
  if (const auto* text = json::find(answer, "message"); text != nullptr && text->is_string()) {
    message = tidy(text->get_string());
  }
  if (const auto* errors = json::find(answer, "errors"); errors != nullptr && errors->is_object()) {
    for (const auto& [name, text] : errors->get_object()) {
      parameters[name] =
          tidy(text.is_string() ? std::string{text.get_string()} : boost::json::serialize(text));
    }
  }
  return true;
}

/// A refused parameter mostly is the caller's mistake; some texts say something else.
Errc kind_of_parameters(const std::map<std::string, std::string>& parameters) {
  for (const auto& [name, text] : parameters) {
    const auto kind = kind_of_text(text, Errc::rejected);
    if (kind == Errc::already_exists || kind == Errc::not_found || kind == Errc::forbidden ||
        kind == Errc::busy) {
      return kind;
    }
  }
  return Errc::rejected;
}

Errc kind_of(const Error& error) {
  const auto& text = error.said;
  switch (error.status) {
    case 400:
      return error.parameters.empty() ? kind_of_text(text, Errc::rejected)
                                      : kind_of_parameters(error.parameters);
    case 401:
      return Errc::auth;
    case 403:
      return text.find("does not exist") == std::string::npos ? Errc::forbidden : Errc::not_found;
    case 404:
      return Errc::not_found;
    case 501:
      return text.find("data too large") == std::string::npos ? Errc::unsupported : Errc::rejected;
    case 506:
      return Errc::unsupported;
    // A reverse proxy in front of the server, or the server's own front process.
    case 502:
    case 503:
    case 504:
    case 595:
    case 596:
    case 597:
    case 598:
    case 599:
      return Errc::proxy;
    default:
      return error.status < 500 ? Errc::rejected : kind_of_text(text, Errc::server);
  }
}

Sent sent_of(const Error& error) {
  if (error.kind == Errc::proxy) return Sent::maybe;
  // The command may have been started in the guest, only its answer is missing.
  if (error.kind == Errc::agent_down && error.said.find(" qga command ") != std::string::npos) {
    return Sent::maybe;
  }
  return Sent::answered;
}

std::string hint_of(const Error& error) {
  switch (error.kind) {
    case Errc::unsupported:
      if (error.said.find("No QEMU guest agent configured") != std::string::npos) {
        return "Enable the agent in the VM's options (agent: enabled=1) and start the VM anew";
      }
      if (error.said.find("has been disabled") != std::string::npos) {
        return "The guest's agent refuses this command: see its configuration "
               "(/etc/qemu/qemu-ga.conf, or /etc/sysconfig/qemu-ga)";
      }
      return {};
    case Errc::forbidden: {
      // "Permission check failed (/vms/100, VM.Audit)"
      const auto open = error.said.find("(/");
      const auto comma = error.said.find(", ", open);
      const auto close = error.said.find(')', open);
      if (open == std::string::npos || comma == std::string::npos || close == std::string::npos ||
          comma > close) {
        return {};
      }
      return fmt::format("Give the user (and the API token, if one is used) {} on {}",
                         error.said.substr(comma + 2, close - comma - 2),
                         error.said.substr(open + 1, comma - open - 1));
    }
    case Errc::rejected:
      for (const auto& [name, text] : error.parameters) {
        if (text.find("not defined in schema") != std::string::npos) {
          return fmt::format("This server may be too old to know `{}`", name);
        }
      }
      return {};
    case Errc::proxy:
      if (error.path.ends_with("/agent/exec")) {
        return "Where this comes after 5 s, the program is missing in the guest";
      }
      return "The server lost its own worker, mostly because all were busy for 30 s";
    default:
      return {};
  }
}

}  // namespace

Errc kind_of_text(std::string_view text, Errc otherwise) noexcept {
  if (text.find("Agent error:") != std::string_view::npos) {
    if (const auto* rule = first_match(guest_rules, text)) return rule->kind;
  }
  const auto* rule = first_match(rules, text);
  return rule == nullptr ? otherwise : rule->kind;
}

Error classify(int status, std::string_view reason, std::string_view body, std::string_view method,
               std::string_view path) {
  Error error{Errc::server, tidy(reason)};
  error.status = status;
  error.method = method;
  error.path = path;
  // Since pve-http-server 5.2 the body has the whole message, the reason only its first line.
  std::string message;
  if (read_body(body, message, error.parameters) && !message.empty()) error.said = message;
  if (error.said.empty()) error.said = fmt::format("the server answered with status {}", status);
  error.kind = kind_of(error);
  error.sent = sent_of(error);
  error.hint = hint_of(error);
  return error;
}

}  // namespace px::pve
