#pragma once
#include "sandbox/spec.hpp"

#include <cstdint>
#include <optional>
#include <string>

/// How many samples fit on a host: by its memory and cores, less what others hold and a reserve, or
/// by the number that the configuration allows. Pure: what the server says is handed in.
namespace px::sandbox {

/// Memory and cores, of a sample or of all that is on a host.
struct Share {
  std::int64_t memory = 0;  ///< bytes
  int cores = 0;            ///< virtual ones

  Share& operator+=(const Share& other);
  Share& operator-=(const Share& other);
  friend bool operator==(const Share&, const Share&) = default;
};

/// What all VMs of a sample may take together.
Share share_of(const Spec& spec);

/// A host, and who holds it. What the server does not tell (0) is no limit.
struct Room {
  /// Virtual cores of samples for each core: their VMs mostly wait for the model.
  static constexpr int cores_for_one = 8;

  Share size{};     ///< all of the host
  Share others{};   ///< of VMs that run there and are not this process's
  Share ours{};     ///< promised to samples of this process
  int samples = 0;  ///< of this process
  std::optional<int> most_samples{};
  std::int64_t reserve = 0;  ///< bytes that stay free for the host itself

  /// Bytes that samples can still get; negative when more is promised than there is.
  std::int64_t free_memory() const noexcept;
  /// How many more samples of that share fit; very large when nothing limits them. An empty host
  /// takes one whatever its cores: they are shared in time.
  int fits(const Share& share) const noexcept;
  /// Why none of this sample's VMs can ever be there, though nobody else is: "pve1 has 8.0 GiB";
  /// empty when they can. `name`: the host's.
  std::string refusal_of(const Spec& spec, const std::string& name) const;
  /// "3 samples, 1.5 of 16.0 GiB free", for messages.
  std::string text() const;
};

/// What stays free for a host when the configuration doesn't say: a twentieth of its memory, from
/// 512 MiB to 8 GiB.
std::int64_t default_reserve(std::int64_t memory) noexcept;

/// "2.5 GiB"
std::string gib_text(std::int64_t bytes);

/// "3.0 GiB and 6 vCPUs (victim: 2.0 GiB and 4 vCPUs, router: ...)"
std::string share_text(const Spec& spec);

}  // namespace px::sandbox
