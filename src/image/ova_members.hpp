#pragma once
#include "image/window.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace px::image {

/// A file in a tar.
struct Member {
  std::string name;          ///< relative, without `./` and `..`
  std::uint64_t offset = 0;  ///< of its bytes, in the tar
  std::uint64_t size = 0;    ///< bytes
};

/// The files of a tar (ustar, pax, GNU), in their order; folders are left out. Only headers are
/// read: what lies between is skipped. Throws Error{bad_input} naming file, member and offset for
/// what is no tar, is cut off or broken, and for members that must not be there: absolute names,
/// `..`, the same name twice, links, devices, sparse files.
std::vector<Member> read_members(const Window& tar);

}  // namespace px::image
