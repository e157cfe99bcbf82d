#include "appliances.hpp"

#include "support/bytes.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

namespace px::image::testing {

namespace {

constexpr std::size_t block = 512;

std::string padded(std::string bytes) {
  bytes.resize((bytes.size() + block - 1) / block * block, '\0');
  return bytes;
}

}  // namespace

Folder::Folder() : path_{std::filesystem::temp_directory_path() / ("px-image-" + random_hex(12))} {
  std::filesystem::create_directories(path_);
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::filesystem::path Folder::write(const std::string& name, std::string_view bytes) const {
  const auto path = path_ / name;
  std::filesystem::create_directories(path.parent_path());
  std::ofstream{path, std::ios::binary} << bytes;
  return path;
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in{path, std::ios::binary};
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}

std::string fixture(const std::string& name) {
  auto out = read_file(fmt::format("{}/tests/image/ovf/{}.ovf", PX_SOURCE_DIR, name));
  EXPECT_FALSE(out.empty()) << name;
  return out;
}

std::string with(std::string text, std::string_view from, std::string_view to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

void run_tool(const std::vector<std::string>& words) {
  std::string line;
  for (const auto& word : words) line += "'" + word + "' ";
  line += "2>&1";
  FILE* pipe = ::popen(line.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string said;
  std::array<char, 4096> piece{};
  while (const auto n = std::fread(piece.data(), 1, piece.size(), pipe)) {
    said.append(piece.data(), n);
  }
  ASSERT_EQ(::pclose(pipe), 0) << line << "\n" << said;
}

void qemu_img(const std::vector<std::string>& words) {
  std::vector<std::string> line{"qemu-img"};
  line.insert(line.end(), words.begin(), words.end());
  run_tool(line);
}

std::string disk_bytes(const std::string& format, const std::string& size) {
  static std::map<std::string, std::string> made;
  auto& out = made[format + " " + size];
  if (!out.empty()) return out;
  const Folder folder;
  const auto raw = folder.write("raw", "some bytes of a boot sector");
  qemu_img({"resize", "-f", "raw", raw.string(), size});
  const auto comma = format.find(',');
  std::vector<std::string> words{"convert", "-f", "raw", "-O", format.substr(0, comma)};
  if (comma != std::string::npos) words.insert(words.end(), {"-o", format.substr(comma + 1)});
  words.insert(words.end(), {raw.string(), (folder / "disk").string()});
  qemu_img(words);
  return out = read_file(folder / "disk");
}

std::string tar_header(const TarFile& file, std::uint64_t size) {
  std::string out(block, '\0');
  const auto put = [&](std::size_t at, std::string_view text) {
    out.replace(at, text.size(), text);
  };
  put(0, std::string_view{file.name}.substr(0, 100));
  put(100, "0000644");
  put(108, "0000000");
  put(116, "0000000");
  if (size < std::uint64_t{1} << 33U) {
    put(124, fmt::format("{:011o}", size));
  } else {
    out[124] = '\x80';
    for (std::size_t i = 0; i < 8; ++i) {
      out[135 - i] = static_cast<char>(size >> (8 * i) & 0xffU);
    }
  }
  put(136, "00000000000");
  put(148, "        ");
  out[156] = file.type;
  put(157, std::string_view{file.target}.substr(0, 100));
  put(257, std::string_view{"ustar\0"
                            "00",
                            8});
  unsigned sum = 0;
  for (const char c : out) sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum) + std::string{"\0 ", 2});
  return out;
}

std::string tar_of(const std::vector<TarFile>& files) {
  std::string out;
  for (const auto& file : files) out += tar_header(file, file.bytes.size()) + padded(file.bytes);
  return out + std::string(2 * block, '\0');
}

std::string tar_by_tool(const std::string& format, const std::vector<TarFile>& files) {
  const Folder folder;
  std::vector<std::string> words{"tar", "--format=" + format,    "-cf", (folder / "tar").string(),
                                 "-C",  (folder / "in").string()};
  for (const auto& file : files) {
    folder.write("in/" + file.name, file.bytes);
    words.push_back(file.name);
  }
  run_tool(words);
  return read_file(folder / "tar");
}

std::vector<TarFile> box() {
  const auto disk = disk_bytes(stream);
  const auto ovf = fixture("virtualbox");
  const auto manifest = fmt::format("SHA1 (box.ovf) = {}\nSHA1 (attacker-disk001.vmdk) = {}\n",
                                    sha1_hex(ovf), sha1_hex(disk));
  return {{"box.ovf", ovf}, {"attacker-disk001.vmdk", disk}, {"box.mf", manifest}};
}

std::uint64_t bytes_read() {
  std::ifstream in{"/proc/self/io"};
  std::string key;
  std::uint64_t value = 0;
  in >> key >> value;
  EXPECT_EQ(key, "rchar:");
  return value;
}

}  // namespace px::image::testing
