#pragma once
#include <string>

namespace px::node {

struct Certificate {
  std::string certificate_pem;
  std::string key_pem;
};

/// A self-signed certificate for 127.0.0.1, ::1 and localhost, good for ten years.
Certificate make_certificate();

/// SHA-256 of a PEM certificate: 32 pairs of capital hexadecimal digits with colons.
std::string fingerprint_of(const std::string& certificate_pem);

}  // namespace px::node
