#include "network/address.hpp"

#include "support/bytes.hpp"
#include "support/error.hpp"

#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/format.h>

#include <charconv>

namespace px::network {

namespace {

/// Sets all bits from `bits` on.
template <class Bytes>
Bytes fill(Bytes bytes, int bits, bool ones) {
  for (int i = bits; i < static_cast<int>(bytes.size()) * 8; ++i) {
    const auto at = static_cast<std::size_t>(i / 8);
    const auto mask = static_cast<unsigned char>(0x80 >> (i % 8));
    bytes[at] = static_cast<unsigned char>(ones ? bytes[at] | mask : bytes[at] & ~mask);
  }
  return bytes;
}

Address fill(const Address& address, int bits, bool ones) {
  namespace ip = boost::asio::ip;
  if (address.is_v4()) return ip::address_v4{fill(address.to_v4().to_bytes(), bits, ones)};
  return ip::address_v6{fill(address.to_v6().to_bytes(), bits, ones)};
}

struct Parts {
  Address address;
  int bits = 0;
};

Parts split(std::string_view field, std::string_view text) {
  const auto slash = text.find('/');
  const auto address = parse_address(field, text.substr(0, slash));
  const int most = address.is_v4() ? 32 : 128;
  int bits = -1;
  if (slash != std::string_view::npos) {
    const auto* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + slash + 1, end, bits);
    if (error != std::errc{} || stop != end) bits = -1;
  }
  if (bits < 0 || bits > most) {
    throw_bad_input(field, text, fmt::format("a network is ADDRESS/BITS, its bits 0..{}", most));
  }
  return {address, bits};
}

}  // namespace

Address parse_address(std::string_view field, std::string_view text) {
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(std::string{text}, error);
  if (error || text.find('%') != std::string_view::npos) {
    throw_bad_input(field, text, "an IP address is needed");
  }
  return address;
}

Cidr Cidr::parse(std::string_view field, std::string_view text) {
  const auto [address, bits] = split(field, text);
  const auto network = around(field, text);
  if (network.first_ != address) {
    throw_bad_input(field, text,
                    fmt::format("it has host bits; the network is {}", network.text()));
  }
  return network;
}

Cidr Cidr::around(std::string_view field, std::string_view text) {
  const auto [address, bits] = split(field, text);
  return {fill(address, bits, false), fill(address, bits, true), bits};
}

bool Cidr::contains(const Address& address) const {
  return address.is_v4() == first_.is_v4() && first_ <= address && address <= last_;
}

bool Cidr::overlaps(const Cidr& other) const {
  return contains(other.first_) || other.contains(first_);
}

bool Cidr::can_be_a_host(const Address& address) const {
  if (!contains(address)) return false;
  const bool is_tiny = first_.is_v4() ? bits_ >= 31 : bits_ >= 127;
  return is_tiny || (address != first_ && !(address.is_v4() && address == last_));
}

std::string Cidr::text() const {
  return fmt::format("{}/{}", first_.to_string(), bits_);
}

std::string parse_mac(std::string_view field, std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdefABCDEF";
  bool fine = text.size() == 17;
  for (std::size_t i = 0; fine && i < text.size(); ++i) {
    fine = i % 3 == 2 ? text[i] == ':' : digits.find(text[i]) != std::string_view::npos;
  }
  if (!fine) {
    throw_bad_input(field, text, "a MAC address is six pairs of hexadecimal digits with colons");
  }
  const auto out = boost::algorithm::to_upper_copy(std::string{text});
  if (std::string_view{"13579BDF"}.find(out[1]) != std::string_view::npos) {
    throw_bad_input(field, text, "the first byte of a card's own address is even");
  }
  return out;
}

std::string random_mac() {
  const auto hex = random_hex(6);
  return parse_mac("mac", fmt::format("BC:24:11:{}:{}:{}", hex.substr(0, 2), hex.substr(2, 2),
                                      hex.substr(4, 2)));
}

}  // namespace px::network
