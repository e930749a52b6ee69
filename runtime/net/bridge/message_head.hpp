// The first 32 bytes of a frame's meta. What follows, by kind:
//   message   [sender, if foreign][stages, if any] content: as the codec says, or a count and (type number, value)*
//   watch, link, unlink    nothing      ended    the reason (caf::error)
//   look_up   the name                  found    the types of its messages (set of strings)
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

namespace troupe::net {

enum class message_kind : std::uint8_t {
  message = 1,
  watch, ///< tell me when `to` ends
  ended, ///< `from` has
  link,  ///< `from` and `to`
  unlink,
  look_up, ///< answered by found with the same id
  found,   ///< `from`, or 0: no actor has that name
};

struct message_head {
  message_kind kind = message_kind::message;
  bool foreign_sender = false; ///< of a third process: its handle stands before the content
  bool staged = false;
  std::uint8_t reserved = 0;
  std::uint16_t codec = 0; ///< 0: generic
  std::uint16_t reserved_too = 0;
  std::uint64_t from = 0; ///< actor of the sending process, or 0
  std::uint64_t to = 0;   ///< actor of the receiving process
  std::uint64_t id = 0;   ///< caf::message_id
};
static_assert(sizeof(message_head) == 32);

inline void put_head(std::vector<char>& meta, const message_head& head) {
  meta.resize(sizeof head);
  std::memcpy(meta.data(), &head, sizeof head);
}

/// Takes the head off `meta`; nothing if it is none.
inline std::optional<message_head> take_head(std::span<const std::byte>& meta) {
  message_head out;
  if (meta.size() < sizeof out) return std::nullopt;
  const auto kind = static_cast<std::uint8_t>(meta[0]);
  const bool flags_ok = static_cast<std::uint8_t>(meta[1]) <= 1 && static_cast<std::uint8_t>(meta[2]) <= 1;
  if (kind < static_cast<std::uint8_t>(message_kind::message) ||
      kind > static_cast<std::uint8_t>(message_kind::found) || !flags_ok)
    return std::nullopt;
  std::memcpy(&out, meta.data(), sizeof out);
  meta = meta.subspan(sizeof out);
  return out;
}

} // namespace troupe::net
