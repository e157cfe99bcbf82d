#include "node/storage/incoming_file.hpp"

#include "node/storage/ova.hpp"
#include "support/bytes.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <memory>
#include <regex>

namespace px::node {

namespace {

/// `algorithm`: OpenSSL knows them by the names that the API uses.
std::string file_digest(const std::filesystem::path& path, const std::string& algorithm) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> sum{EVP_MD_CTX_new(),
                                                                    &EVP_MD_CTX_free};
  EVP_DigestInit_ex(sum.get(), EVP_get_digestbyname(algorithm.c_str()), nullptr);
  std::ifstream file{path, std::ios::binary};
  std::string piece(1 << 20, '\0');
  while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) || file.gcount() > 0) {
    EVP_DigestUpdate(sum.get(), piece.data(), static_cast<std::size_t>(file.gcount()));
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int length = 0;
  EVP_DigestFinal_ex(sum.get(), digest.data(), &length);
  return to_hex({reinterpret_cast<const char*>(digest.data()), length});
}

}  // namespace

std::string clean_file_name(std::string_view name) {
  const auto slash = name.find_last_of("/\\");
  std::string out{slash == std::string_view::npos ? name : name.substr(slash + 1)};
  std::replace_if(
      out.begin(), out.end(),
      [](unsigned char c) { return !(std::isalnum(c) != 0 || c == '.' || c == '-' || c == '_'); },
      '_');
  return out;
}

void check_file_name(const std::string& content, const std::string& name) {
  static const std::regex iso{R"(.+\.(iso|img))", std::regex::icase};
  static const std::regex import{R"(.+\.(ova|qcow2|raw|vmdk))"};
  static const std::regex vztmpl{R"(.+\.tar\.(gz|xz|zst|bz2))"};
  const auto& wanted = content == "iso" ? iso : content == "import" ? import : vztmpl;
  if (name.size() <= 255 && std::regex_match(name, wanted)) return;
  throw ApiError::parameter("filename", content == "import" ? "invalid filename or wrong extension"
                                                            : "wrong file extension");
}

void check_contents(Disks& disks, const std::filesystem::path& file, const std::string& name) {
  const auto format = std::filesystem::path{name}.extension().string();
  if (format == ".ova") check_ova(file);
  if (format == ".qcow2" || format == ".vmdk") disks.size_of_import(file, format.substr(1));
}

Checksum Checksum::of(const Call& call) {
  return {call.text_or("checksum-algorithm", ""),
          boost::algorithm::to_lower_copy(call.text_or("checksum", ""))};
}

void verify(const Checksum& checksum, const std::filesystem::path& file) {
  const auto got = file_digest(file, checksum.algorithm);
  if (got == checksum.digest) return;
  throw ApiError{500,
                 fmt::format("checksum mismatch: got '{}' != expect '{}'", got, checksum.digest)};
}

}  // namespace px::node
