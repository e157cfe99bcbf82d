#include "sandbox/web_sources.hpp"

#include "image/download.hpp"
#include "image/progress.hpp"
#include "image/web_parts.hpp"
#include "support/json.hpp"
#include "support/log.hpp"

#include <boost/algorithm/string/predicate.hpp>
#include <fmt/format.h>

#include <optional>
#include <vector>

namespace px::sandbox {

namespace {

struct WebSourceField {
  std::string path;      ///< "vms_config[0].vm_source_config.ova"
  std::string checksum;  ///< may be empty
  bool is_iso;           ///< it is uploaded once, by this machine
  json::value* url;
};

/// What is of another form than it should be is for parse_spec() to tell.
std::vector<WebSourceField> web_fields(json::value& spec) {
  std::vector<WebSourceField> out;
  auto* vms = spec.is_object() ? spec.get_object().if_contains("vms_config") : nullptr;
  if (vms == nullptr || !vms->is_array()) return out;
  for (std::size_t i = 0; i < vms->get_array().size(); ++i) {
    auto& vm = vms->get_array()[i];
    auto* source = vm.is_object() ? vm.get_object().if_contains("vm_source_config") : nullptr;
    if (source == nullptr || !source->is_object()) continue;
    for (const auto* name : {"ova", "disk", "iso"}) {
      auto* value = source->get_object().if_contains(name);
      if (value == nullptr || !value->is_string() || !image::is_url(value->get_string())) continue;
      out.push_back({fmt::format("vms_config[{}].vm_source_config", i),
                     json::text_or(*source, "checksum"), std::string_view{name} == "iso", value});
    }
  }
  return out;
}

/// A server would write a name, a password or a token into its task's log.
bool may_be_shown(const std::string& url) {
  return image::shown_url(url) == url;
}

bool is_sent_in_parts(const std::string& url) {
  try {
    const image::WebParts parts{url};
    return true;
  } catch (const Error& error) {
    if (error.kind != Errc::unsupported) throw;
    log::info("{}; this machine downloads it", error.said);
    return false;
  }
}

awaitable<void> fetch_source(asio::thread_pool& pool, WebSourceField field) {
  const std::string url{field.url->get_string()};
  if (boost::algorithm::iends_with(image::file_name_of(url), ".ovf")) {
    throw_bad_input(field.path, image::shown_url(url),
                    "in the web an appliance is one file, an .ova");
  }
  image::Download what{.url = url};
  what.progress = image::show_progress(image::shown_url(url) + ": download");
  if (!field.checksum.empty()) {
    what.checksum = image::parse_checksum(field.path + ".checksum", field.checksum);
    const bool in_parts = !field.is_iso && may_be_shown(url) &&
                          co_await run_in_pool(pool, [&] { return is_sent_in_parts(url); });
    if (in_parts) co_return;
  }
  const auto here = co_await image::download(pool, std::move(what));
  if (field.checksum.empty()) {
    log::warn("{}: {} has the checksum {}; with checksum=\"{}\" nothing else is ever taken for it",
              field.path, image::shown_url(url), here.sum.text(), here.sum.text());
  }
  *field.url = here.file.string();
}

}  // namespace

bool names_web_sources(std::string_view spec_json) {
  auto spec = json::parse(spec_json, "the sandbox configuration");
  return !web_fields(spec).empty();
}

awaitable<std::string> fetch_sources(asio::thread_pool& pool, std::string spec_json) {
  auto spec = json::parse(spec_json, "the sandbox configuration");
  std::vector<awaitable<void>> work;
  for (auto& field : web_fields(spec)) work.push_back(fetch_source(pool, std::move(field)));
  co_await all(std::move(work));
  co_return boost::json::serialize(spec);
}

}  // namespace px::sandbox
