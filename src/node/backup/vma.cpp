#include "node/backup/vma.hpp"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>

namespace px::node {

std::string vma::md5_without(std::span<const char> bytes, std::size_t at) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> sum{EVP_MD_CTX_new(),
                                                                    &EVP_MD_CTX_free};
  constexpr std::array<char, md5_size> zeros{};
  EVP_DigestInit_ex(sum.get(), EVP_md5(), nullptr);
  EVP_DigestUpdate(sum.get(), bytes.data(), at);
  EVP_DigestUpdate(sum.get(), zeros.data(), zeros.size());
  const auto rest = bytes.subspan(at + md5_size);
  EVP_DigestUpdate(sum.get(), rest.data(), rest.size());
  std::string out(md5_size, '\0');
  EVP_DigestFinal_ex(sum.get(), reinterpret_cast<unsigned char*>(out.data()), nullptr);
  return out;
}

std::uint64_t clusters_of(const VmaDevice& device) {
  return device.bytes / vma::cluster_size + (device.bytes % vma::cluster_size == 0 ? 0 : 1);
}

}  // namespace px::node
