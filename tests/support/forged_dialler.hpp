// A dialler written from the protocol's description alone. It knows the cluster secret and says whatever it is told:
// what a broken or hostile member of the cluster could send.
#pragma once

#include "tests/support/handshake_rig.hpp"

#include <array>
#include <cstdint>
#include <cstring>

namespace troupe::test {

struct forged_dialler {
  std::array<std::uint32_t, 5> sizes{}; ///< channel, then bytes of uri, wanted uri, worker address, owner's hello
  std::vector<std::byte> card;
  bool digest_fits = true;

  /// With the sizes that its fields have.
  static forged_dialler of(const std::string& uri, const std::string& wanted, const std::string& address,
                           const std::string& hello) {
    const auto size = [](const std::string& text) { return static_cast<std::uint32_t>(text.size()); };
    return {{5, size(uri), size(wanted), size(address), size(hello)}, bytes_of(uri + wanted + address + hello)};
  }

  /// Goes through the whole handshake as far as `acceptor` lets it; its refusal, or empty.
  std::string shake(net::handshake& acceptor) const {
    std::vector<std::byte> hello(48, std::byte{9});
    std::memcpy(hello.data(), "TROUPE\r\n\1\0\1\0\1\0\0\0", 16);
    std::vector<std::byte> head(52);
    const auto digest = net::sha256(digest_fits ? card : hello);
    std::memcpy(head.data(), sizes.data(), 20);
    std::memcpy(head.data() + 20, digest.data(), 32);
    const auto mac =
        net::hmac_sha256(known_secret().key(), {bytes_of("troupe dialler proof"), hello, acceptor.begin(), head});
    head.insert(head.end(), mac.begin(), mac.end());
    const std::array<std::span<const std::byte>, 3> messages{hello, head, card};
    for (auto rest : messages) {
      while (!rest.empty() && acceptor.wanted_bytes() != 0) {
        const auto size = std::min(rest.size(), acceptor.wanted_bytes());
        if (const auto reply = acceptor.receive(rest.first(size)); !reply) return reply.error().message;
        rest = rest.subspan(size);
      }
    }
    return {};
  }
};

} // namespace troupe::test
