// How two processes that share the cluster secret come to trust each other, before anything of variable size is read.
// Bytes in, bytes out: no sockets, no clock. Both sides send the same three messages:
//
//   dialler            acceptor
//   hello ─────▶ ◀───── hello            magic, versions, role, nonce                        48 bytes
//   proof ─────▶                         sizes and SHA-256 of the card, HMAC over all so far  84 bytes
//         ◀───── proof, card
//   card  ─────▶                         uri, whom it wants, worker address, owner's hello    limits::card_*
//
// An HMAC covers everything exchanged so far and the sender's role: nothing can be reflected, replayed or swapped.
#pragma once

#include "runtime/core/result.hpp"
#include "runtime/net/digest.hpp"
#include "runtime/net/secret.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace troupe::net {

/// The newest protocol this build speaks, and the oldest one it still speaks. Two sides use the newest both speak.
inline constexpr std::uint16_t protocol_version = 1;
inline constexpr std::uint16_t protocol_version_oldest = 1;

/// Who opened the connection.
enum class handshake_role : std::uint8_t { dialler = 1, acceptor = 2 };

/// What a side says about itself once the other one has proved the secret. Sizes are limited by limits::card_*.
struct peer_card {
  std::string uri;                ///< where its sender serves: printable ASCII, its name in every log line
  std::string wanted;             ///< the dialler's: the uri it wants to reach, or empty for whoever answers
  std::uint32_t channel = 0;      ///< what frames to this side carry, so that it knows whose they are
  std::vector<std::byte> address; ///< of the transport (a UCX worker address)
  std::vector<std::byte> hello;   ///< of the transport's owner (transport::start)
};

/// What both sides know afterwards.
struct handshake_session {
  std::uint16_t version = 0;
  peer_card peer;
  digest key{};                  ///< of this connection only; the same on both sides
  std::uint64_t send_tag = 0;    ///< goes into every frame sent ...
  std::uint64_t receive_tag = 0; ///< ... and is in every frame of the peer: an address alone lets nobody in
};

class handshake {
 public:
  struct options {
    handshake_role role = handshake_role::dialler;
    peer_card mine;
    net::nonce nonce = fresh_nonce(); ///< never used twice; tests fix it
    std::uint16_t version = protocol_version;
    std::uint16_t version_oldest = protocol_version_oldest;
  };

  /// `mine` within its limits: a broken invariant otherwise.
  handshake(const cluster_secret& secret, options how);

  /// What to send before anything is received: the hello. The acceptor's too, so that a refused version is told.
  std::vector<std::byte> begin() const;

  /// How many bytes of the peer the next step still lacks; 0 when the handshake is over. Read no more than these.
  std::size_t wanted_bytes() const;

  /// Takes up to wanted_bytes() bytes of the peer; gives what to send now (often nothing).
  /// Errors: bad_input with one line about the reason; the connection must be closed then, and the other side told
  /// nothing. Every later call gives the same error.
  result<std::vector<std::byte>> receive(std::span<const std::byte> bytes);

  bool done() const { return session_.has_value(); }
  /// When done.
  const handshake_session& session() const;

  /// Why the peer may have closed the connection now: a peer that refuses us says nothing.
  error closed_by_peer() const;

 private:
  enum class stage : std::uint8_t { hello, proof, card, over };

  result<std::vector<std::byte>> take_hello();
  result<std::vector<std::byte>> take_proof();
  result<std::vector<std::byte>> take_card();
  std::vector<std::byte> make_proof();
  digest mac_of(handshake_role prover, std::span<const std::byte> head) const;
  void expect(stage next, std::size_t bytes);

  cluster_secret secret_;
  options how_;
  std::vector<std::byte> my_hello_;
  std::vector<std::byte> my_proof_;
  std::vector<std::byte> my_card_;
  std::vector<std::byte> peer_hello_;
  std::vector<std::byte> peer_proof_;
  stage stage_ = stage::hello;
  std::size_t expected_ = 0;
  std::vector<std::byte> received_;
  std::uint16_t agreed_version_ = 0;
  std::optional<handshake_session> session_;
  std::optional<error> failed_;
};

} // namespace troupe::net
