#include "runtime/net/frame_format.hpp"

#include <algorithm>
#include <cstring>
#include <string>

namespace troupe::net {

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
  out.segment_count = fixed.segments;
  auto rest = header.subspan(sizeof(fixed));
  const auto sizes_bytes = out.segment_count * sizeof(std::uint64_t);
  if (rest.size() < sizes_bytes) return refused("sizes are cut off");
  std::memcpy(out.sizes.data(), rest.data(), sizes_bytes);
  out.meta = rest.subspan(sizes_bytes);
  if (out.meta.size() != (out.meta_in_data ? 0 : fixed.frame.meta_bytes)) return refused("meta is cut off");

  out.data_bytes = out.meta_in_data ? fixed.frame.meta_bytes : 0;
  for (std::size_t i = 0; i < out.segment_count; ++i) {
    if (out.sizes[i] > limits::segment_bytes_max)
      return refused("segment of " + std::to_string(out.sizes[i]) + " bytes");
    out.data_bytes += out.sizes[i];
  }
  if (out.data_bytes != data_bytes)
    return refused("sizes add up to " + std::to_string(out.data_bytes) + " bytes, data has " +
                   std::to_string(data_bytes));
  return out;
}

} // namespace troupe::net
