#include "runtime/net/digest.hpp"

#include "runtime/core/invariant.hpp"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <vector>

namespace troupe::net {

namespace {

const unsigned char* raw(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

unsigned char* raw(std::array<std::byte, 32>& out) { return reinterpret_cast<unsigned char*>(out.data()); }

} // namespace

digest sha256(std::span<const std::byte> bytes) {
  digest out;
  SHA256(raw(bytes), bytes.size(), raw(out));
  return out;
}

digest hmac_sha256(std::span<const std::byte> key, std::initializer_list<std::span<const std::byte>> parts) {
  std::vector<std::byte> whole;
  for (const auto part : parts) whole.insert(whole.end(), part.begin(), part.end());
  digest out;
  const auto* done =
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), raw(whole), whole.size(), raw(out), nullptr);
  invariant(done, "OpenSSL has HMAC-SHA-256");
  return out;
}

bool equal(const digest& a, const digest& b) { return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

nonce fresh_nonce() {
  nonce out;
  invariant(RAND_bytes(raw(out), static_cast<int>(out.size())) == 1, "random bytes are there");
  return out;
}

void wipe(std::span<std::byte> secret) { OPENSSL_cleanse(secret.data(), secret.size()); }

} // namespace troupe::net
