#include "runtime/net/frame_format.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>

namespace troupe::net {

namespace {

template <class T>
bool take(std::span<const std::byte>& from, T& to) {
  if (from.size() < sizeof(T)) return false;
  std::memcpy(&to, from.data(), sizeof(T));
  from = from.subspan(sizeof(T));
  return true;
}

} // namespace

std::optional<head_view> take_head(std::span<const std::byte>& message) {
  head_view out;
  if (!take(message, out.channel) || out.channel.room_follows > 1) return std::nullopt;
  if (out.channel.room_follows == 0) return out;
  room_header back;
  if (!take(message, back)) return std::nullopt;
  out.back = {back.frames, back.bytes};
  return out;
}

std::optional<frame_view> parcel_reader::next() {
  if (rest_.size() < sizeof(frame_header)) return std::nullopt;
  frame_view out;
  std::memcpy(&out.header, rest_.data(), sizeof(frame_header));
  const auto body = rest_.subspan(sizeof(frame_header));
  if (out.header.meta_bytes > body.size()) return std::nullopt;
  out.meta = body.first(out.header.meta_bytes);
  rest_ = body.subspan(std::min(padded(out.meta.size()), body.size()));
  return out;
}

result<bulk_view> read_bulk(std::span<const std::byte> header, std::uint64_t data_bytes) {
  const auto refused = [](std::string why) { return error{errc::bad_input, "bulk frame: " + std::move(why)}; };
  bulk_header fixed;
  if (header.size() < sizeof(fixed)) return refused("header of " + std::to_string(header.size()) + " bytes");
  std::memcpy(&fixed, header.data(), sizeof(fixed));
  if (fixed.segments > limits::frame_segments_max) return refused(std::to_string(fixed.segments) + " segments");
  if (fixed.frame.meta_bytes > limits::frame_meta_bytes_max)
    return refused("meta of " + std::to_string(fixed.frame.meta_bytes) + " bytes");

  bulk_view out;
  out.frame = fixed.frame;
  out.meta_in_data = fixed.meta_in_data != 0;
  auto rest = header.subspan(sizeof(fixed));
  const auto sizes_bytes = fixed.segments * sizeof(std::uint64_t);
  if (rest.size() < sizes_bytes) return refused("sizes are cut off");
  if (out.meta_in_data) out.sizes.push_back(fixed.frame.meta_bytes);
  for (std::size_t i = 0; i < fixed.segments; ++i) {
    std::uint64_t size = 0;
    std::memcpy(&size, rest.data() + i * sizeof(size), sizeof(size));
    if (size > limits::segment_bytes_max) return refused("segment of " + std::to_string(size) + " bytes");
    out.sizes.push_back(size);
  }
  out.meta = rest.subspan(sizes_bytes);
  if (out.meta.size() != (out.meta_in_data ? 0 : fixed.frame.meta_bytes)) return refused("meta is cut off");
  out.plan = plan_pieces(out.sizes);
  if (out.plan.bulk_bytes != data_bytes)
    return refused("sizes ask for " + std::to_string(out.plan.bulk_bytes) + " bytes, data has " +
                   std::to_string(data_bytes));
  return out;
}

std::uint64_t bulk_view::frame_bytes() const {
  return std::accumulate(sizes.begin(), sizes.end(), std::uint64_t{meta.size()});
}

piece_plan plan_pieces(const piece_sizes& sizes) {
  constexpr std::uint64_t alone_from = 2'048; // a copy of so much costs less than a message of its own
  constexpr std::uint64_t together_max = 4'096;
  piece_plan out;
  const auto alone = [&](std::uint64_t size) { return size >= alone_from || out.bulk_bytes + size > together_max; };
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 0) continue;
    if (alone(sizes[i])) {
      out.message[i] = static_cast<std::uint8_t>(out.messages++);
    } else {
      out.bulk_bytes += sizes[i];
      ++out.bulk_pieces;
    }
  }
  if (out.bulk_pieces > 0 || out.messages == 1) return out;
  // Nothing small: the first large piece comes with the bulk message.
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (out.message[i] == 1) out.bulk_bytes = sizes[i];
    if (out.message[i] > 0) --out.message[i];
  }
  out.bulk_pieces = 1;
  --out.messages;
  return out;
}

} // namespace troupe::net
