// What travels between two transports, byte by byte (little endian, as every machine this runs on is).
//
//   parcel   head, then frames: frame_header, meta; each begins at a multiple of 16
//   bulk     head, bulk_header, sizes of segments, meta if it is short │ data: small pieces or the first one
//   piece    head │ data: one of the large pieces that the bulk message before it has announced
//   hot      head, bytes
//   head     channel_header, then room_header if the sender gives room back
//
// The pieces of a bulk frame are its segments, after its meta if that is long. Large ones travel alone: UCX fetches one
// range of memory with a single copy, but several at once only through its small buffers.
//
// Pure. Invariant: nothing of a peer is read before the length that it claims has been checked.
#pragma once

#include "runtime/core/limits.hpp"
#include "runtime/core/result.hpp"
#include "runtime/net/credit.hpp"

#include <boost/container/static_vector.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace troupe::net {

static_assert(std::endian::native == std::endian::little, "frames are little endian");

/// Before everything: whose it is. Short, so that 64 hot bytes with it still fit into what UCX writes at once into the
/// peer's memory.
struct channel_header {
  std::uint64_t tag = 0;         ///< handshake_session::send_tag
  std::uint32_t channel = 0;     ///< peer_card::channel of the receiver
  std::uint8_t lane = 0;         ///< of hot bytes; of a piece, its message's number
  std::uint8_t room_follows = 0; ///< 1: a room_header comes next
  std::uint16_t reserved = 0;
};
static_assert(sizeof(channel_header) == 16);

/// The room that the sender gives back.
struct room_header {
  std::uint64_t bytes = 0;
  std::uint32_t frames = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(room_header) == 16);

inline constexpr std::size_t head_bytes_max = sizeof(channel_header) + sizeof(room_header);

struct head_view {
  channel_header channel;
  room back;
};
/// Takes the head off `message`; nothing if it is none.
std::optional<head_view> take_head(std::span<const std::byte>& message);

struct frame_header {
  std::uint64_t stream = 0;
  std::uint32_t sequence = 0; ///< of all frames of the channel: they are announced in the order of sending
  std::uint32_t meta_bytes = 0;
};
static_assert(sizeof(frame_header) == 16);

struct bulk_header {
  frame_header frame;
  std::uint32_t segments = 0;
  std::uint32_t meta_in_data = 0; ///< 1: the data begins with the meta
  std::uint64_t reserved = 0;
};
static_assert(sizeof(bulk_header) == 32);

/// Hot lanes from transport::hot_lanes_max on are the transports' own.
enum class control_lane : std::uint8_t {
  room = 16,   ///< only the header counts
  room_wanted, ///< the sender waits for room
  ready,       ///< the first of an acceptor: frames may follow, both ways
  leaving,     ///< the last of a sender that stops; nothing follows
};

/// More than this goes as bulk. What UCX sends in one piece, on TCP and on shared memory.
inline constexpr std::size_t parcel_bytes_max = 8'000;

constexpr std::size_t padded(std::size_t bytes) { return (bytes + 15) & ~std::size_t{15}; }

/// Whether a frame of so much meta and no segments goes into a parcel.
constexpr bool fits_parcel(std::size_t meta_bytes) {
  return head_bytes_max + sizeof(frame_header) + meta_bytes <= parcel_bytes_max;
}

struct frame_view {
  frame_header header;
  std::span<const std::byte> meta;
};

/// The frames of a parcel. `bytes` (without its head) must be aligned to 16: so are the metas, then.
class parcel_reader {
 public:
  explicit parcel_reader(std::span<const std::byte> bytes) : rest_(bytes) {}

  /// The next frame; nothing at the end, or when the rest is no frame.
  std::optional<frame_view> next();
  /// Everything has been a frame.
  bool complete() const { return rest_.empty(); }

 private:
  std::span<const std::byte> rest_;
};

inline constexpr std::size_t pieces_max = limits::frame_segments_max + 1;
using piece_sizes = boost::container::static_vector<std::uint64_t, pieces_max>;

/// Which message of a bulk frame carries which piece; both sides work it out from the sizes.
struct piece_plan {
  std::array<std::uint8_t, pieces_max> message{}; ///< of each piece; 0 is the bulk message
  std::size_t messages = 1;
  std::uint64_t bulk_bytes = 0; ///< of all pieces in the bulk message
  std::size_t bulk_pieces = 0;  ///< that are not empty
};
piece_plan plan_pieces(const piece_sizes& sizes);

struct bulk_view {
  frame_header frame;
  bool meta_in_data = false;
  std::span<const std::byte> meta; ///< when it is not in the data
  piece_sizes sizes;               ///< with the meta, when it is in the data
  piece_plan plan;

  std::uint64_t frame_bytes() const; ///< meta and segments
};

/// Reads what announces a bulk frame (after its head); `data_bytes` come with it. Any alignment.
/// Errors: bad_input with the field that is wrong.
result<bulk_view> read_bulk(std::span<const std::byte> header, std::uint64_t data_bytes);

} // namespace troupe::net
