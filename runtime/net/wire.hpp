// What travels between peers after the handshake, byte for byte, and the parsers of it. Fixed little-endian layouts; a
// receiver knows every size before it takes a byte of data, and refuses what is over a limit.
//
//   envelope | frame_head | segment sizes    header of an active message; its data: meta, segment, segment ...
//   envelope                                 header of a batch; its data: (item_head, meta, padding to 16) ...
//   envelope | credit_grant                  everything this side has handled so far
//   envelope                                 ping, pong, bye; hot: its data is the handler's
//
// Invariant: parsers read unaligned bytes and allocate in proportion to them, whatever they say. Anything malformed
// means a broken or hostile peer: the connection ends.
#pragma once

#include "runtime/core/limits.hpp"
#include "runtime/core/result.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace troupe::net {

enum class frame_kind : std::uint8_t { frame = 1, batch = 2, credit = 3, ping = 4, pong = 5, bye = 6, hot = 7 };

/// First in every active message's header.
struct envelope {
  std::uint64_t tag = 0;     ///< handshake_session::send_tag: only the peer we shook hands with knows it
  std::uint32_t channel = 0; ///< peer_card::channel of the receiver
  frame_kind kind = frame_kind::frame;
  std::uint8_t lane = 0; ///< of hot; else 0
  std::uint16_t segment_count = 0;
};
static_assert(sizeof(envelope) == 16);

/// Of one frame. `sequence` counts the frames of its stream from 0 and wraps; see sequence_before.
struct frame_head {
  std::uint64_t stream = 0;
  std::uint32_t sequence = 0;
  std::uint32_t meta_bytes = 0;
};
static_assert(sizeof(frame_head) == 16);

/// Everything handled so far, not the difference: a grant that comes twice or late does no harm.
struct credit_grant {
  std::uint64_t frames = 0;
  std::uint64_t bytes = 0;
};
static_assert(sizeof(credit_grant) == 16);

inline constexpr std::size_t frame_header_bytes_max =
    sizeof(envelope) + sizeof(frame_head) + limits::frame_segments_max * sizeof(std::uint64_t);

/// The header of one frame with its data's sizes.
struct frame_layout {
  frame_head head;
  std::vector<std::size_t> segment_bytes;
  std::size_t data_bytes = 0; ///< meta and segments together
};

/// One frame within a batch; `meta` points into the batch.
struct batch_item {
  frame_head head;
  std::span<const std::byte> meta;
};

/// Reads the envelope of any header; the caller compares `tag` with its peer's before it reads on.
result<envelope> parse_envelope(std::span<const std::byte> header);

/// The whole header of a frame. Errors: bad_input for sizes above limits::frame_*, or that differ from the header's
/// own.
result<frame_layout> parse_frame(std::span<const std::byte> header);

/// All frames of a batch's data into `items`, or none.
result<void> parse_batch(std::span<const std::byte> data, std::vector<batch_item>& items);

result<credit_grant> parse_credit(std::span<const std::byte> header);

/// A header to send; lives until the send has completed.
struct header_bytes {
  std::array<std::byte, frame_header_bytes_max> room;
  std::size_t size = 0;

  std::span<const std::byte> bytes() const { return std::span(room).first(size); }
};

header_bytes make_header(const envelope& e);
header_bytes make_credit(const envelope& e, const credit_grant& grant);
/// At most limits::frame_segments_max segments: a broken invariant otherwise. Sets the envelope's segment_count.
header_bytes make_frame(envelope e, const frame_head& head, std::span<const std::size_t> segment_bytes);

/// The room one frame takes in a batch, and putting it there.
constexpr std::size_t batch_item_bytes(std::size_t meta_bytes) {
  return (sizeof(frame_head) + meta_bytes + 15) / 16 * 16;
}
void append_to_batch(std::vector<std::byte>& batch, frame_head head, std::span<const std::byte> meta);

/// Whether `a` was sent before `b`, across the wrap; both are within 2^31 of each other (credit sees to that).
constexpr bool sequence_before(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) < 0; }

} // namespace troupe::net
