#include "node/network/address.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstddef>
#include <vector>

namespace px::node {

namespace {

namespace ip = boost::asio::ip;
using Bytes = std::vector<unsigned char>;

Bytes bytes_of(const IpAddress& address) {
  if (address.is_v4()) {
    const auto bytes = address.to_v4().to_bytes();
    return {bytes.begin(), bytes.end()};
  }
  const auto bytes = address.to_v6().to_bytes();
  return {bytes.begin(), bytes.end()};
}

template <class Address>
Address from_bytes(const Bytes& bytes) {
  typename Address::bytes_type out;
  std::copy(bytes.begin(), bytes.end(), out.begin());
  return Address{out};
}

IpAddress address_of(const Bytes& bytes) {
  if (bytes.size() == 4) return from_bytes<ip::address_v4>(bytes);
  return from_bytes<ip::address_v6>(bytes);
}

/// The host bits all at `value`.
IpAddress with_host_bits(const Cidr& cidr, bool value) {
  Bytes bytes = bytes_of(cidr.address);
  for (std::size_t bit = static_cast<std::size_t>(cidr.prefix); bit < bytes.size() * 8; ++bit) {
    const auto mask = static_cast<unsigned char>(0x80U >> (bit % 8));
    if (value) {
      bytes[bit / 8] = static_cast<unsigned char>(bytes[bit / 8] | mask);
    } else {
      bytes[bit / 8] = static_cast<unsigned char>(bytes[bit / 8] & ~mask);
    }
  }
  return address_of(bytes);
}

IpAddress before(const IpAddress& address) {
  Bytes bytes = bytes_of(address);
  for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
    if ((*byte)-- != 0) break;
  }
  return address_of(bytes);
}

}  // namespace

std::optional<IpAddress> parse_ip(std::string_view text) {
  if (text.find('%') != std::string_view::npos) return std::nullopt;
  boost::system::error_code error;
  const auto address = ip::make_address(text, error);
  return error ? std::nullopt : std::optional{address};
}

std::optional<Cidr> Cidr::parse(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto address = parse_ip(text.substr(0, slash));
  const auto digits = text.substr(slash + 1);
  int prefix = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
  if (!address || error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  if (prefix < 8 || prefix > (address->is_v4() ? 32 : 128)) return std::nullopt;
  return Cidr{*address, prefix};
}

std::string Cidr::print() const {
  return fmt::format("{}/{}", address.to_string(), prefix);
}

bool Cidr::contains(const IpAddress& other) const {
  return other.is_v4() == is_v4() && Cidr{other, prefix}.network() == network();
}

IpAddress Cidr::network() const {
  return with_host_bits(*this, false);
}

IpAddress Cidr::last_host() const {
  const int bits = is_v4() ? 32 : 128;
  const auto last = with_host_bits(*this, true);
  return bits - prefix < 2 ? last : before(last);
}

IpAddress next(const IpAddress& address) {
  Bytes bytes = bytes_of(address);
  for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
    if (++*byte != 0) break;
  }
  return address_of(bytes);
}

}  // namespace px::node
