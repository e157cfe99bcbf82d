#include "node/vm/password.hpp"

#include "support/bytes.hpp"
#include "support/error.hpp"

#include <crypt.h>
#include <memory>

namespace px::node {

std::string hash_password(const std::string& password) {
  const std::string salt = "$5$" + random_hex(8);
  const auto work = std::make_unique<crypt_data>();
  const char* hash = ::crypt_r(password.c_str(), salt.c_str(), work.get());
  // An asterisk stands for a failure (crypt(3)).
  if (hash == nullptr || *hash == '*') throw Error{Errc::internal, "crypt(3) makes no hash"};
  return hash;
}

}  // namespace px::node
