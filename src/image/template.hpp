#pragma once
#include "pve/client.hpp"
#include "pve/ids.hpp"
#include "pve/qemu.hpp"
#include "support/async.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

/// Template VMs: what samples are cloned from. Found by tag, or made from an image file.
namespace px::image {

struct TemplateRequest {
  std::string built_in;  ///< one of both is set
  std::string existing_tag;
  bool uefi = false;                     ///< built-ins: OVMF; existing templates must agree
  std::string disk_controller = "scsi";  ///< built-ins: scsi or ide
};

struct Template {
  pve::VmRef vm;
  pve::qemu::VmConfigMap config;
};

/// The CD-ROM drive for media, to be set to `none,media=cdrom` before a clone starts: one that is
/// there already, else a SCSI one, which needs no AHCI in the guest; empty when none can be had.
std::string cd_drive_of(const pve::qemu::VmConfigMap& config);

/// The templates of one node, looked up once and kept. Not thread-safe: one I/O thread.
class Templates {
 public:
  /// `storage` takes the disks of templates that are made here. `birth_note` marks what is made
  /// until it is ready, so that clean-up finds it after a crash.
  Templates(pve::Client& client, pve::NodeName node, std::string storage, std::string birth_note);

  /// Errors: bad_input (unknown built-in or tag, with what there is), not_found (a built-in whose
  /// file is neither here nor as a template there), and the server's.
  awaitable<Template> get(TemplateRequest request);

  /// Looks again at the next get(): a template has gone.
  void forget() { known_.clear(); }

 private:
  awaitable<Template> find_existing(const TemplateRequest& request);
  awaitable<Template> find_or_make_built_in(const TemplateRequest& request);
  awaitable<pve::VmRef> make(const TemplateRequest& request, std::string file,
                             std::string content_tag);
  awaitable<pve::VmRef> create(pve::Params config);
  awaitable<pve::StorageId> import_storage();
  awaitable<bool> has_kvm();

  pve::Client& client_;
  pve::NodeName node_;
  std::string storage_;
  std::string birth_note_;
  std::map<std::string, Template> known_;
  Semaphore one_at_a_time_{1};
};

}  // namespace px::image
