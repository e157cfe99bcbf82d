#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

/// Appliances and disk images for tests: made here, by tar headers of our own, tar and
/// qemu-img.
namespace px::image::testing {

/// A folder that goes with the test.
class Folder {
 public:
  Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder();

  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  std::filesystem::path write(const std::string& name, std::string_view bytes) const;

 private:
  std::filesystem::path path_;
};

std::string read_file(const std::filesystem::path& path);

/// tests/image/ovf/NAME.ovf.
std::string fixture(const std::string& name);

/// `text` with the first `from` replaced by `to`; a test whose `from` is not there fails.
std::string with(std::string text, std::string_view from, std::string_view to);

/// Runs a program; a failure fails the test.
void run_tool(const std::vector<std::string>& words);
/// The same with qemu-img.
void qemu_img(const std::vector<std::string>& words);

/// A disk image that holds a little, in a format that qemu-img knows; "vmdk" takes a subformat as
/// "vmdk,subformat=streamOptimized".
std::string disk_bytes(const std::string& format, const std::string& size = "64M");

struct TarFile {
  std::string name;
  std::string bytes;
  char type = '0';  ///< of a ustar header: 0 file, 1 hard link, 2 symlink, 3 device, 5 folder
  std::string target{};
};

/// A header block of ustar; sizes of 8 GiB and more in GNU's base-256.
std::string tar_header(const TarFile& file, std::uint64_t size);
std::string tar_of(const std::vector<TarFile>& files);
/// By the system's tar: "ustar", "pax", "gnu".
std::string tar_by_tool(const std::string& format, const std::vector<TarFile>& files);

inline constexpr const char* stream = "vmdk,subformat=streamOptimized";

/// The members of an OVA in VirtualBox's form, whole and right: box.ovf, attacker-disk001.vmdk (a
/// `stream` of 64 MiB), box.mf.
std::vector<TarFile> box();

/// Bytes that this process has read so far.
std::uint64_t bytes_read();

}  // namespace px::image::testing
