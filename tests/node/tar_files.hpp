#pragma once
#include <fmt/format.h>

#include <fstream>
#include <string>
#include <vector>

namespace px::node::testing {

/// One member of a tar; `link` makes it a symbolic link to there.
struct TarMember {
  std::string name;
  std::string bytes;
  std::string link{};
};

/// A ustar archive (POSIX.1-1988), written here so that the tests do not trust what they test.
inline std::string make_tar(const std::vector<TarMember>& members) {
  const auto padded = [](std::string text) {
    text.resize((text.size() + 511) / 512 * 512, '\0');
    return text;
  };
  std::string out;
  for (const auto& [name, bytes, link] : members) {
    std::string header(512, '\0');
    const auto put = [&header](std::size_t at, const std::string& text) {
      header.replace(at, text.size(), text);
    };
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, fmt::format("{:011o}", bytes.size()));
    put(136, fmt::format("{:011o}", 1'700'000'000));
    put(148, "        ");
    put(156, link.empty() ? "0" : "2");
    put(157, link);
    put(257, "ustar");
    put(263, "00");
    unsigned sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    put(148, fmt::format("{:06o}", sum) + std::string(1, '\0') + " ");
    out += header + padded(bytes);
  }
  return out + std::string(1024, '\0');
}

}  // namespace px::node::testing
