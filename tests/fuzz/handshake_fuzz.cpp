// Any bytes of a stranger are refused in one line, read no further than wanted, and never lead to a session; any change
// of what passes between two honest sides is noticed; a member of the cluster may prove any card. The first two bytes
// choose which of these is tried, and how.
#include "runtime/core/invariant.hpp"
#include "runtime/core/limits.hpp"
#include "tests/support/forged_dialler.hpp"

#include <algorithm>
#include <cstring>

using namespace troupe;
using namespace troupe::net;

namespace {

handshake::options fixed(handshake::options how, std::uint8_t fill) {
  how.nonce.fill(std::byte{fill}); // the same input does the same
  return how;
}

/// Feeds `bytes` in pieces of `piece`; false when refused.
bool feed(handshake& side, std::span<const std::byte> bytes, std::size_t piece) {
  while (!bytes.empty() && side.wanted_bytes() != 0) {
    const auto size = std::min({bytes.size(), side.wanted_bytes(), piece});
    const auto reply = side.receive(bytes.first(size));
    if (!reply) {
      const auto& why = reply.error().message;
      invariant(why.starts_with("handshake: ") && why.find('\n') == std::string::npos, "a refusal is one line");
      invariant(side.wanted_bytes() == 0 && !side.done(), "a refused peer gets no further");
      return false;
    }
    bytes = bytes.subspan(size);
    invariant(side.wanted_bytes() <=
                  2 * limits::card_uri_bytes_max + limits::card_address_bytes_max + limits::card_hello_bytes_max,
              "a peer's messages are bounded");
  }
  return true;
}

/// The man in the middle replaces the bytes from `at` on of what the dialler sends to the acceptor.
void forge(std::size_t at, std::span<const std::byte> bytes) {
  test::handshake_rig rig{handshake(test::known_secret(), fixed(test::dialler_options(), 1)),
                          handshake(test::known_secret(), fixed(test::acceptor_options(), 2))};
  std::size_t passed = 0;
  bool changed = false;
  rig.tamper = [&](bool by_dialler, std::vector<std::byte>& sent) {
    if (!by_dialler) return;
    for (auto& b : sent) {
      if (passed >= at && passed - at < bytes.size()) {
        changed |= b != bytes[passed - at];
        b = bytes[passed - at];
      }
      ++passed;
    }
  };
  rig.run();
  invariant(!changed || !rig.acceptor.done(), "nothing that was changed is believed");
  invariant(changed || rig.acceptor.done(), "a session that nobody touched comes about");
}

/// A member of the cluster proves any sizes and any card.
void betray(std::span<const std::byte> bytes) {
  test::forged_dialler traitor;
  const auto sizes_bytes = std::min(bytes.size(), sizeof(traitor.sizes));
  if (sizes_bytes > 0) std::memcpy(traitor.sizes.data(), bytes.data(), sizes_bytes);
  traitor.card.assign(bytes.begin() + static_cast<std::ptrdiff_t>(sizes_bytes), bytes.end());
  handshake acceptor(test::known_secret(), fixed(test::acceptor_options(), 4));
  const auto refused = traitor.shake(acceptor);
  invariant(refused.find('\n') == std::string::npos, "a refusal is one line");
  if (!acceptor.done()) return;
  const auto& card = acceptor.session().peer;
  invariant(!card.uri.empty() && card.uri.size() <= limits::card_uri_bytes_max, "uris are bounded");
  invariant(card.uri.size() + card.wanted.size() + card.address.size() + card.hello.size() == traitor.card.size(),
            "a card is its fields");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(2);
  if (data[0] & 4) {
    betray(bytes);
  } else if (data[0] & 1) {
    forge(data[1], bytes);
  } else {
    const auto how = data[0] & 2 ? test::dialler_options() : test::acceptor_options();
    handshake side(test::known_secret(), fixed(how, 3));
    feed(side, bytes, data[1] + 1u);
    invariant(!side.done(), "nobody guesses a proof");
  }
  return 0;
}
