#include "actors/gateways/api_keys.hpp"

#include <openssl/crypto.h>
#include <openssl/sha.h>

namespace troupe {

api_keys::api_keys(const std::vector<std::string>& keys) {
  for (const auto& key : keys) digests_.push_back(digest_of(key));
}

bool api_keys::accept(std::string_view authorization) const {
  if (digests_.empty()) return true;
  constexpr std::string_view scheme = "Bearer ";
  const bool bearer = authorization.starts_with(scheme);
  const auto asked = digest_of(bearer ? authorization.substr(scheme.size()) : authorization);
  bool known = false;
  for (const auto& digest : digests_) known |= CRYPTO_memcmp(digest.data(), asked.data(), digest.size()) == 0;
  return bearer && known;
}

api_keys::digest api_keys::digest_of(std::string_view key) {
  digest out;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), out.data());
  return out;
}

} // namespace troupe
