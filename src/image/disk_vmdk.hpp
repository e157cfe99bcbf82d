#pragma once
#include "image/disk_header.hpp"

namespace px::image {

/// VMDK, of any kind (VMware Virtual Disk Format 1.1).
bool is_vmdk(std::string_view head);
DiskHeader read_vmdk(const Window& image);

}  // namespace px::image
