#include "cli/image_server.hpp"

#include "cli/exit.hpp"
#include "cli/servers.hpp"
#include "cli/table.hpp"
#include "image/built_in.hpp"
#include "image/download.hpp"
#include "image/inventory.hpp"
#include "sandbox/images.hpp"
#include "sandbox/run.hpp"
#include "support/json.hpp"
#include "support/log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

namespace px::cli {

namespace {

using AllImages = AllServers<image::Inventory>;
using Images = Looked<image::Inventory>;

AllImages look_at_images() {
  return look_at_all<image::Inventory>([](pve::Client& client) {
    return image::take_inventory(client, pve::NodeName::parse(client.instance().node));
  });
}

// --- ls ------------------------------------------------------------------------------------------

std::string state_of(const image::MadeTemplate& made) {
  if (!made.is_ready) return fmt::format("made by run {}", made.run);
  return made.clones.empty() ? "unused" : fmt::format("{} clones", made.clones.size());
}

json::value template_json(const image::MadeTemplate& made) {
  json::array clones;
  for (const auto& vmid : made.clones) clones.push_back(vmid.number());
  return json::object{{"vmid", made.vm.vmid.number()},
                      {"node", made.vm.node.text()},
                      {"name", made.name},
                      {"source", made.source},
                      {"content_tag", made.content_tag},
                      {"ready", made.is_ready},
                      {"run", made.run},
                      {"clones", std::move(clones)}};
}

void print_json(const Images& looked) {
  json::array templates;
  for (const auto& made : looked.inventory->templates) templates.push_back(template_json(made));
  json::array uploads;
  for (const auto& file : looked.inventory->uploads) {
    uploads.push_back(
        json::object{{"volume", file.volume.text()}, {"run", file.run}, {"size_bytes", file.size}});
  }
  json::array media;
  for (const auto& medium : looked.inventory->media) {
    json::array users;
    for (const auto& vmid : medium.users) users.push_back(vmid.number());
    media.push_back(json::object{
        {"volume", medium.volume.text()}, {"size_bytes", medium.size}, {"vms", std::move(users)}});
  }
  fmt::print("{}\n", boost::json::serialize(json::object{{"host", looked.server.host},
                                                         {"templates", std::move(templates)},
                                                         {"uploads", std::move(uploads)},
                                                         {"media", std::move(media)}}));
}

void print_tables(const Images& looked) {
  Table templates{{"TEMPLATE", "NAME", "SOURCE", "STATE", "CONTENT"}};
  for (const auto& made : looked.inventory->templates) {
    templates.add({made.vm.vmid.text(), made.name, made.source, state_of(made), made.content_tag});
  }
  Table uploads{{"UPLOAD", "RUN", "MB"}};
  for (const auto& file : looked.inventory->uploads) {
    uploads.add({file.volume.text(), file.run, std::to_string(file.size / 1'000'000)});
  }
  Table media{{"MEDIUM", "VMS"}};
  for (const auto& medium : looked.inventory->media) {
    media.add({medium.volume.text(), fmt::format("{}", fmt::join(medium.users, " "))});
  }
  fmt::print("{}:\n", looked.server.name());
  if (!templates.empty()) fmt::print("{}", templates.text());
  if (!uploads.empty()) fmt::print("{}", uploads.text());
  if (!media.empty()) fmt::print("{}", media.text());
  if (templates.empty() && uploads.empty() && media.empty()) fmt::print("no images of ours\n");
}

void print_built_ins() {
  Table table{{"BUILT-IN", "USER", "FILE"}};
  for (const auto& built_in : image::built_ins()) {
    const auto file = image::file_of(built_in);
    table.add({std::string{built_in.name}, std::string{built_in.user},
               file                   ? file->string()
               : built_in.url.empty() ? "not here"
                                      : std::string{built_in.url}});
  }
  fmt::print("{}", table.text());
}

int list_images(bool as_json) {
  if (!as_json) print_built_ins();
  const auto all = look_at_images();
  for (const auto& looked : all.servers) {
    if (!looked.inventory) continue;
    if (as_json) {
      print_json(looked);
    } else {
      print_tables(looked);
    }
  }
  return all.exit_code;
}

// --- bake ----------------------------------------------------------------------------------------

struct BakeOptions {
  std::string source;
  std::string checksum;
  bool uefi = false;
  bool secure_boot = false;
  std::string disk_controller;
};

/// A file or a URL by what it is, else a built-in.
std::string source_field(const std::string& source) {
  std::error_code error;
  const bool is_url = image::is_url(source);
  if (!is_url && !std::filesystem::is_regular_file(source, error)) return "built_in";
  const auto name = is_url ? image::file_name_of(source) : source;
  return name.ends_with(".ova") || name.ends_with(".ovf") ? "ova" : "disk";
}

int bake(const BakeOptions& options) {
  const auto field = source_field(options.source);
  json::object source{{field, options.source}};
  if (!options.checksum.empty()) source["checksum"] = options.checksum;
  json::object vm{{"vm_source_config", std::move(source)}, {"nics", json::array{}}};
  if (options.uefi) vm["uefi_boot"] = true;
  if (options.secure_boot) vm["secure_boot"] = true;
  if (!options.disk_controller.empty()) vm["disk_controller"] = options.disk_controller;
  const auto spec = boost::json::serialize(
      json::object{{"sdn_config", nullptr}, {"vms_config", json::array{std::move(vm)}}});
  log::set_level(log::Level::info);
  work([&spec](asio::thread_pool& pool) -> awaitable<void> {
    sandbox::Run run{co_await asio::this_coro::executor, pool};
    co_await run.prepare(spec);
    co_await run.sweep(true);
  });
  return 0;
}

// --- rm, prune -----------------------------------------------------------------------------------

using Choose =
    std::function<sandbox::ImageChoice(const image::Inventory&, const sandbox::LifeOf& life_of)>;

void print_choice(const sandbox::ImageChoice& choice) {
  Table table{{"WHAT", "", "WHY"}};
  for (const auto& item : choice.remove) table.add({item.what, "goes", item.why});
  for (const auto& item : choice.keep) table.add({item.what, "stays", item.why});
  if (!table.empty()) fmt::print("{}", table.text());
  std::fflush(stdout);
}

int remove_chosen(const Choose& choose, const std::vector<std::string>& names, bool yes) {
  const auto all = look_at_images();
  std::vector<sandbox::ImageChoice> choices;
  for (const auto& looked : all.servers) {
    choices.push_back(looked.inventory ? choose(*looked.inventory, all.life_of)
                                       : sandbox::ImageChoice{});
  }
  if (all.exit_code == 0) check_names(choices, names, "no image of ours has it; see image ls");
  bool something = false;
  bool left = false;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const auto& server = all.servers[i].server;
    if (choices.size() > 1) fmt::print("{}:\n", server.name());
    print_choice(choices[i]);
    left = left || (!names.empty() && !choices[i].keep.empty());
    if (choices[i].remove.empty()) continue;
    something = true;
    if (!yes) continue;
    std::vector<std::string> rest;
    work_on(server, [&](pve::Client& client) -> awaitable<void> {
      rest = co_await sandbox::remove_images(client, choices[i]);
    });
    const auto count = choices[i].remove.size();
    fmt::print(stderr, "{}: removed {} of {}.\n", server.name(), count - rest.size(), count);
    for (const auto& line : rest) fmt::print(stderr, "left: {}\n", line);
    left = left || !rest.empty();
  }
  if (!something) fmt::print(stderr, "There is nothing to remove.\n");
  if (something && !yes) fmt::print(stderr, "Nothing is removed yet; add --yes.\n");
  if (all.exit_code != 0) return all.exit_code;
  return left ? findings : 0;
}

}  // namespace

void add_server_commands(CLI::App& image, int& exit_code) {
  const auto as_json = std::make_shared<bool>(false);
  auto* ls = image.add_subcommand("ls", "Built-ins, and the templates on the servers of PROXMOX_*");
  ls->add_flag("--json", *as_json, "One JSON object a line, for each server");
  ls->callback([as_json, &exit_code] { exit_code = list_images(*as_json); });

  const auto baking = std::make_shared<BakeOptions>();
  auto* bakes = image.add_subcommand("bake", "Makes the template of a source now, not at a task");
  bakes
      ->add_option("source", baking->source,
                   "A built-in, an .ova, an .ovf or a disk image; or a URL")
      ->required();
  bakes->add_option("--checksum", baking->checksum, "Of the file: sha256:HEX or sha512:HEX");
  bakes->add_flag("--uefi", baking->uefi, "For VMs with uefi_boot=True");
  bakes->add_flag("--secure-boot", baking->secure_boot, "For VMs with secure_boot=True");
  bakes->add_option("--disk-controller", baking->disk_controller, "scsi or ide")
      ->check(CLI::IsMember({"scsi", "ide"}));
  bakes->callback([baking, &exit_code] { exit_code = bake(*baking); });

  const auto yes = std::make_shared<bool>(false);
  const auto names = std::make_shared<std::vector<std::string>>();
  auto* rm = image.add_subcommand(
      "rm", "Removes templates, uploads and media of ours. Without --yes it only says which.");
  rm->add_option("names", *names, "VMIDs, names or tags of templates, volumes of uploads and media")
      ->required();
  rm->add_flag("--yes", *yes, "Do it");
  rm->callback([names, yes, &exit_code] {
    const auto choose = [&](const image::Inventory& inventory, const sandbox::LifeOf& life_of) {
      return sandbox::named_images(inventory, *names, life_of);
    };
    exit_code = remove_chosen(choose, *names, *yes);
  });

  auto* prune = image.add_subcommand(
      "prune",
      "Removes templates, uploads and media that nothing uses. Without --yes it only says which.");
  prune->add_flag("--yes", *yes, "Do it");
  prune->callback([yes, &exit_code] {
    const auto choose = [](const image::Inventory& inventory, const sandbox::LifeOf& life_of) {
      return sandbox::unused_images(inventory, life_of);
    };
    exit_code = remove_chosen(choose, {}, *yes);
  });
}

}  // namespace px::cli
