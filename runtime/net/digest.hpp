// The little cryptography that peers need, by OpenSSL: digests, message authentication, comparison, randomness.
// Invariant: nothing here takes a time that depends on a secret's bytes.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <span>

namespace troupe::net {

using digest = std::array<std::byte, 32>;
/// Random bytes that are used once: they make every connection's proofs different.
using nonce = std::array<std::byte, 32>;

/// SHA-256.
digest sha256(std::span<const std::byte> bytes);

/// HMAC-SHA-256 (RFC 2104) of the parts one after the other; parts are not delimited, the caller fixes their sizes.
digest hmac_sha256(std::span<const std::byte> key, std::initializer_list<std::span<const std::byte>> parts);

/// In constant time.
bool equal(const digest& a, const digest& b);

/// From the operating system's generator. A machine without one cannot go on: a broken invariant.
nonce fresh_nonce();

/// Overwrites a secret before its memory is given back; the compiler does not leave it out.
void wipe(std::span<std::byte> secret);

} // namespace troupe::net
