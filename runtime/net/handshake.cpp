#include "runtime/net/handshake.hpp"

#include "runtime/core/invariant.hpp"
#include "runtime/core/limits.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace troupe::net {

namespace {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian, and so is every peer");

// What travels before the proofs are checked, byte for byte; no padding anywhere.
struct hello_layout {
  std::array<char, 8> magic;
  std::uint16_t version;
  std::uint16_t version_oldest;
  std::uint8_t role;
  std::array<std::uint8_t, 3> zero;
  net::nonce nonce;
};
static_assert(sizeof(hello_layout) == 48);

struct proof_layout {
  struct head_layout {
    std::uint32_t channel;
    std::uint32_t uri_bytes;
    std::uint32_t wanted_bytes;
    std::uint32_t address_bytes;
    std::uint32_t hello_bytes;
    digest card;
  } head;
  digest mac;
};
static_assert(sizeof(proof_layout) == 84);

constexpr std::array<char, 8> magic{'T', 'R', 'O', 'U', 'P', 'E', '\r', '\n'}; // a text-mode copy shows at once

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  static_assert(std::has_unique_object_representations_v<T>);
  return std::as_bytes(std::span(&value, 1));
}

std::span<const std::byte> text_of(std::string_view text) { return std::as_bytes(std::span(text)); }

template <class T>
T layout_of(const std::vector<std::byte>& bytes) {
  T out;
  std::memcpy(&out, bytes.data(), sizeof(T));
  return out;
}

std::vector<std::byte> joined(std::initializer_list<std::span<const std::byte>> parts) {
  std::vector<std::byte> out;
  for (const auto part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

error refusal(std::string why) { return {errc::bad_input, "handshake: " + std::move(why)}; }

bool printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

/// Sums cannot overflow: every term has passed its limit.
std::size_t card_bytes(const proof_layout::head_layout& head) {
  return std::size_t{head.uri_bytes} + head.wanted_bytes + head.address_bytes + head.hello_bytes;
}

result<void> check_sizes(const proof_layout::head_layout& head) {
  const auto check = [](const char* field, std::uint32_t size, std::size_t max) -> result<void> {
    if (size <= max) return {};
    return refusal(std::string(field) + " of " + std::to_string(size) + " bytes; at most " + std::to_string(max));
  };
  TROUPE_TRY(check("uri", head.uri_bytes, limits::card_uri_bytes_max));
  TROUPE_TRY(check("wanted uri", head.wanted_bytes, limits::card_uri_bytes_max));
  TROUPE_TRY(check("worker address", head.address_bytes, limits::card_address_bytes_max));
  TROUPE_TRY(check("owner's hello", head.hello_bytes, limits::card_hello_bytes_max));
  if (head.uri_bytes == 0) return refusal("the peer has no uri");
  return {};
}

std::string hex(std::span<const std::byte> bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (const auto b : bytes) out += {digits[static_cast<unsigned>(b) >> 4], digits[static_cast<unsigned>(b) & 15]};
  return out;
}

handshake_role other(handshake_role role) {
  return role == handshake_role::dialler ? handshake_role::acceptor : handshake_role::dialler;
}

std::uint64_t tag_of(const digest& key, handshake_role sender) {
  const auto mac = hmac_sha256(key, {text_of("troupe frame tag"), bytes_of(sender)});
  std::uint64_t out = 0;
  std::memcpy(&out, mac.data(), sizeof(out));
  return out;
}

} // namespace

handshake::handshake(const cluster_secret& secret, options how) : secret_(secret), how_(std::move(how)) {
  const auto& mine = how_.mine;
  my_card_ = joined({text_of(mine.uri), text_of(mine.wanted), mine.address, mine.hello});
  const proof_layout::head_layout head{mine.channel,
                                       static_cast<std::uint32_t>(mine.uri.size()),
                                       static_cast<std::uint32_t>(mine.wanted.size()),
                                       static_cast<std::uint32_t>(mine.address.size()),
                                       static_cast<std::uint32_t>(mine.hello.size()),
                                       sha256(my_card_)};
  invariant(check_sizes(head).has_value() && printable(mine.uri) && printable(mine.wanted), "our own card is in order");
  my_proof_ = joined({bytes_of(head)});
  const hello_layout hello{magic, how_.version, how_.version_oldest, static_cast<std::uint8_t>(how_.role),
                           {},    how_.nonce};
  my_hello_ = joined({bytes_of(hello)});
  expect(stage::hello, sizeof(hello_layout));
}

void handshake::expect(stage next, std::size_t bytes) {
  stage_ = next;
  expected_ = bytes;
  received_.clear();
}

std::vector<std::byte> handshake::begin() const { return my_hello_; }

std::size_t handshake::wanted_bytes() const { return failed_ ? 0 : expected_ - received_.size(); }

result<std::vector<std::byte>> handshake::receive(std::span<const std::byte> bytes) {
  if (failed_) return *failed_;
  invariant(bytes.size() <= wanted_bytes(), "no more is read than was wanted");
  received_.insert(received_.end(), bytes.begin(), bytes.end());
  if (wanted_bytes() != 0 || stage_ == stage::over) return std::vector<std::byte>{};
  auto reply = stage_ == stage::hello ? take_hello() : stage_ == stage::proof ? take_proof() : take_card();
  if (!reply) failed_ = reply.error();
  return reply;
}

result<std::vector<std::byte>> handshake::take_hello() {
  const auto hello = layout_of<hello_layout>(received_);
  if (hello.magic != magic)
    return refusal("whoever connects does not speak Troupe's protocol (its first bytes are " +
                   hex(std::span(received_).first(8)) + ")");
  if (hello.version < how_.version_oldest || how_.version < hello.version_oldest)
    return refusal("the peer speaks protocol version " + std::to_string(hello.version) + " (oldest " +
                   std::to_string(hello.version_oldest) + "), this process version " + std::to_string(how_.version) +
                   " (oldest " + std::to_string(how_.version_oldest) + ")");
  if (hello.role != static_cast<std::uint8_t>(other(how_.role)) || hello.nonce == how_.nonce)
    return refusal("our own messages come back to us");
  agreed_version_ = std::min(how_.version, hello.version);
  peer_hello_ = received_;
  expect(stage::proof, sizeof(proof_layout));
  return how_.role == handshake_role::dialler ? make_proof() : std::vector<std::byte>{};
}

result<std::vector<std::byte>> handshake::take_proof() {
  const auto proof = layout_of<proof_layout>(received_);
  if (!equal(proof.mac, mac_of(other(how_.role), bytes_of(proof.head))))
    return refusal("the peer does not know this cluster's secret (TROUPE_CLUSTER_SECRET or cluster.key differ)");
  TROUPE_TRY(check_sizes(proof.head));
  peer_proof_ = received_;
  expect(stage::card, card_bytes(proof.head));
  return how_.role == handshake_role::dialler ? my_card_ : joined({make_proof(), my_card_});
}

result<std::vector<std::byte>> handshake::take_card() {
  const auto head = layout_of<proof_layout>(peer_proof_).head;
  if (!equal(head.card, sha256(received_))) return refusal("the peer's card is not the one it has proved");
  std::span<const std::byte> rest = received_;
  const auto next = [&](std::uint32_t size) {
    const auto field = rest.first(size);
    rest = rest.subspan(size);
    return field;
  };
  const auto text = [&](std::uint32_t size) {
    const auto field = next(size);
    return std::string(reinterpret_cast<const char*>(field.data()), field.size());
  };
  const auto blob = [&](std::uint32_t size) {
    const auto field = next(size);
    return std::vector<std::byte>(field.begin(), field.end());
  };
  peer_card peer;
  peer.uri = text(head.uri_bytes);
  peer.wanted = text(head.wanted_bytes);
  peer.channel = head.channel;
  peer.address = blob(head.address_bytes);
  peer.hello = blob(head.hello_bytes);
  const auto& mine = how_.mine;
  if (!printable(peer.uri) || !printable(peer.wanted)) return refusal("the peer's uri is not printable ASCII");
  if (peer.uri == mine.uri) return refusal(mine.uri + " has reached itself");
  if (!mine.wanted.empty() && peer.uri != mine.wanted)
    return refusal(peer.uri + " answers where " + mine.wanted + " was expected");
  if (!peer.wanted.empty() && peer.wanted != mine.uri)
    return refusal(peer.uri + " looks for " + peer.wanted + " and found " + mine.uri);

  const bool dialled = how_.role == handshake_role::dialler;
  const auto key = hmac_sha256(secret_.key(), {text_of("troupe session key"), dialled ? my_hello_ : peer_hello_,
                                               dialled ? peer_hello_ : my_hello_, dialled ? my_proof_ : peer_proof_,
                                               dialled ? peer_proof_ : my_proof_});
  session_ = {agreed_version_, std::move(peer), key, tag_of(key, how_.role), tag_of(key, other(how_.role))};
  expect(stage::over, 0);
  return std::vector<std::byte>{};
}

std::vector<std::byte> handshake::make_proof() {
  const auto mac = mac_of(how_.role, my_proof_);
  my_proof_.insert(my_proof_.end(), mac.begin(), mac.end());
  return my_proof_;
}

/// The dialler proves itself over both hellos and its own head; the acceptor also over the dialler's proof.
digest handshake::mac_of(handshake_role prover, std::span<const std::byte> head) const {
  const bool dialled = how_.role == handshake_role::dialler;
  const auto& dialler_hello = dialled ? my_hello_ : peer_hello_;
  const auto& acceptor_hello = dialled ? peer_hello_ : my_hello_;
  if (prover == handshake_role::dialler)
    return hmac_sha256(secret_.key(), {text_of("troupe dialler proof"), dialler_hello, acceptor_hello, head});
  const auto& dialler_proof = dialled ? my_proof_ : peer_proof_;
  return hmac_sha256(secret_.key(),
                     {text_of("troupe acceptor proof"), dialler_hello, acceptor_hello, dialler_proof, head});
}

const handshake_session& handshake::session() const {
  invariant(done(), "the handshake is over");
  return *session_;
}

error handshake::closed_by_peer() const {
  if (failed_) return *failed_;
  if (stage_ == stage::hello) return refusal("the peer closed the connection before it said hello");
  if (stage_ == stage::proof)
    return refusal("the peer closed the connection instead of proving itself: the cluster secrets or the protocol "
                   "versions may differ; its log says why");
  return refusal("the peer closed the connection before its card; its log says why");
}

} // namespace troupe::net
