// Two sides of a handshake in one thread, with a man in the middle who may change what passes.
#pragma once

#include "runtime/net/handshake.hpp"

#include <functional>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::test {

inline std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

inline const net::cluster_secret& known_secret() {
  static const net::cluster_secret secret("0123456789abcdef");
  return secret;
}

inline net::handshake::options dialler_options() {
  return {.role = net::handshake_role::dialler,
          .mine = {"ucx://127.0.0.1:1/d", "ucx://127.0.0.1:2/a", 7, bytes_of("address of d"), bytes_of("hello of d")}};
}

inline net::handshake::options acceptor_options() {
  return {.role = net::handshake_role::acceptor,
          .mine = {"ucx://127.0.0.1:2/a", "", 9, bytes_of("address of a"), bytes_of("hello of a")}};
}

/// What passes from one side to the other, in pieces of at most `piece_bytes`.
struct handshake_rig {
  net::handshake dialler{known_secret(), dialler_options()};
  net::handshake acceptor{known_secret(), acceptor_options()};
  std::size_t piece_bytes = 1u << 20;
  /// Sees every message in full, may change it: (from the dialler?, bytes).
  std::function<void(bool, std::vector<std::byte>&)> tamper = [](bool, std::vector<std::byte>&) {};

  std::vector<std::byte> from_dialler; ///< everything it has sent
  std::vector<std::byte> from_acceptor;
  std::string failure; ///< the first side's that refused

  /// Until both are done or one refuses.
  void run() {
    std::vector<std::byte> to_acceptor = dialler.begin();
    std::vector<std::byte> to_dialler = acceptor.begin();
    tamper(true, to_acceptor);
    tamper(false, to_dialler);
    while (failure.empty() && (!to_acceptor.empty() || !to_dialler.empty())) {
      deliver(true, to_acceptor, acceptor, from_dialler, to_dialler);
      if (failure.empty()) deliver(false, to_dialler, dialler, from_acceptor, to_acceptor);
    }
  }

 private:
  /// One read of `side`; what it answers is appended to `answers`.
  void deliver(bool by_dialler, std::vector<std::byte>& waiting, net::handshake& side, std::vector<std::byte>& record,
               std::vector<std::byte>& answers) {
    const auto size = std::min({waiting.size(), side.wanted_bytes(), piece_bytes});
    if (size == 0) return waiting.clear(); // nobody reads it
    record.insert(record.end(), waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(size));
    auto reply = side.receive(std::span(waiting).first(size));
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(size));
    if (!reply) {
      failure = reply.error().message;
      return;
    }
    if (!reply->empty()) tamper(!by_dialler, *reply);
    answers.insert(answers.end(), reply->begin(), reply->end());
  }
};

} // namespace troupe::test
