#include "sandbox/cloud_init_spec.hpp"

#include "support/bytes.hpp"

#include <boost/algorithm/string/predicate.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <regex>

namespace px::sandbox {

namespace {

constexpr std::string_view cloud_config_line = "#cloud-config";

/// A part of a MIME document (cloud-init's manual, "User-data formats").
std::string mime_part(std::string_view type, std::string_view text) {
  return fmt::format(
      "Content-Type: {}; charset=\"utf-8\"\nMIME-Version: 1.0\n"
      "Content-Transfer-Encoding: base64\n\n{}\n",
      type, to_base64(text));
}

bool is_script(std::string_view text) {
  return text.starts_with("#!");
}

bool is_cloud_config(std::string_view text) {
  const auto line = text.substr(0, text.find('\n'));
  const auto end = line.find_last_not_of(" \t\r");
  return end != std::string_view::npos && line.substr(0, end + 1) == cloud_config_line;
}

bool is_mime(std::string_view text) {
  return boost::algorithm::istarts_with(text, "content-type:") ||
         boost::algorithm::istarts_with(text, "mime-version:");
}

/// The user's text as a part; a MIME document has headers of its own and is a part as it is.
std::string part_of(const std::string& user_data) {
  if (is_mime(user_data)) return user_data + "\n";
  return mime_part(is_script(user_data) ? "text/x-shellscript" : "text/cloud-config", user_data);
}

/// What the fields beside `user_data` say, in cloud-init's words.
json::object own_config(const CloudInitSpec& spec) {
  json::object out;
  if (!spec.ssh_keys.empty()) out["ssh_authorized_keys"] = json::from(spec.ssh_keys);
  if (!spec.packages.empty()) {
    out["package_update"] = true;
    out["packages"] = json::from(spec.packages);
  }
  if (!spec.run.empty()) {
    // They become one script, of which cloud-init sees the last command's status only.
    json::array script{"set -e"};
    script.insert(script.end(), spec.run.begin(), spec.run.end());
    out["runcmd"] = std::move(script);
  }
  return out;
}

/// JSON is YAML.
std::string cloud_config_of(const json::object& config) {
  return fmt::format("{}\n{}\n", cloud_config_line, boost::json::serialize(config));
}

std::string user_data_of(const CloudInitSpec& spec) {
  auto own = own_config(spec);
  if (!spec.user_data) return cloud_config_of(own);
  if (own.empty()) return *spec.user_data;
  // "Merging user-data sections" in cloud-init's manual; without it lists would be replaced.
  own["merge_how"] = "dict(no_replace,recurse_list)+list(append)";
  const auto first = part_of(*spec.user_data);
  const auto second = mime_part("text/cloud-config", cloud_config_of(own));
  const auto boundary = "=" + sha256_hex(first + second);
  return fmt::format(
      "Content-Type: multipart/mixed; boundary=\"{0}\"\nMIME-Version: 1.0\n\n"
      "--{0}\n{1}--{0}\n{2}--{0}--\n",
      boundary, first, second);
}

void check_user_data(const std::string& field, const std::string& text) {
  const bool has_nul = text.find('\0') != std::string::npos;
  if (!has_nul && (is_cloud_config(text) || is_script(text) || is_mime(text))) return;
  throw Error{Errc::bad_input,
              field +
                  ": is nothing that cloud-init takes; it begins with a line #cloud-config, "
                  "with #!, or is a MIME document"}
      .with_hint("Logs don't hold it: a run that is repeated from one needs its task.");
}

/// OpenSSH's sshd(8), AUTHORIZED_KEYS FILE FORMAT, without options in front.
void check_ssh_key(const std::string& field, const std::string& key) {
  static const std::regex form{
      "(ssh-(rsa|dss|ed25519)|ecdsa-sha2-nistp(256|384|521)|"
      "sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\\.com) [A-Za-z0-9+/]{16,}={0,2}( [^\n\r]*)?"};
  if (std::regex_match(key, form)) return;
  throw_bad_input(field, printable(key),
                  "a public key is one line: its type, its base64 and perhaps a comment");
}

/// A name, and with `=` or `/` a version or release, as apt takes it; others are alike.
void check_package(const std::string& field, const std::string& name) {
  static const std::regex form{"[A-Za-z0-9][A-Za-z0-9+._:=~/@-]*"};
  if (!std::regex_match(name, form))
    throw_bad_input(field, printable(name), "no package has that name");
}

void check_command(const std::string& field, const json::value& command) {
  const auto is_word = [](const json::value& word) {
    return word.is_string() && word.get_string().find('\0') == json::bj::string::npos;
  };
  const bool is_text = is_word(command) && !command.get_string().empty();
  const bool is_list = command.is_array() && !command.get_array().empty() &&
                       std::ranges::all_of(command.get_array(), is_word) &&
                       !command.get_array().front().get_string().empty();
  if (is_text || is_list) return;
  throw_bad_input(field, boost::json::serialize(command),
                  "it is a text for a shell, or a list of texts that begins with a program");
}

template <class T>
void check_each(const std::string& field, const std::vector<T>& items,
                void (*check)(const std::string& field, const T& item)) {
  for (std::size_t i = 0; i < items.size(); ++i) check(fmt::format("{}[{}]", field, i), items[i]);
}

}  // namespace

image::CloudSeed seed_of(const std::string& field, const CloudInitSpec& spec,
                         const std::string& host_name) {
  if (spec.user_data) check_user_data(field + ".user_data", *spec.user_data);
  if (spec.network && spec.network->empty()) {
    throw_bad_input(field + ".network", "", "None leaves the guest its own choice");
  }
  check_each(field + ".ssh_keys", spec.ssh_keys, &check_ssh_key);
  check_each(field + ".packages", spec.packages, &check_package);
  check_each(field + ".run", spec.run, &check_command);
  return {.host_name = host_name,
          .user_data = user_data_of(spec),
          .network_config = spec.network.value_or("")};
}

}  // namespace px::sandbox
