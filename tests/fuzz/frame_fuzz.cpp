// Any bytes are refused, or begin with a head of its size, announce a bulk frame whose sizes are within the limits and
// fit its data, or are a parcel whose frames lie one after the other inside it. The first byte shifts a bulk header off
// its alignment.
#include "runtime/core/invariant.hpp"
#include "runtime/net/frame_format.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

using namespace troupe;
using namespace troupe::net;

namespace {

void check_bulk(std::span<const std::byte> header, std::uint64_t data_bytes) {
  const auto parsed = read_bulk(header, data_bytes);
  if (!parsed) {
    const auto& why = parsed.error().message;
    invariant(why.starts_with("bulk frame: ") && why.find('\n') == std::string::npos, "a refusal is one line");
    return;
  }
  invariant(parsed->frame.meta_bytes <= limits::frame_meta_bytes_max, "metas are bounded");
  invariant(parsed->sizes.size() <= pieces_max, "pieces are counted");
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < parsed->sizes.size(); ++i) {
    invariant(parsed->sizes[i] <= limits::segment_bytes_max, "pieces are bounded");
    invariant(parsed->plan.message[i] < parsed->plan.messages, "every piece has a message");
    if (parsed->plan.message[i] == 0) sum += parsed->sizes[i];
  }
  invariant(sum == data_bytes && sum == parsed->plan.bulk_bytes, "the data is the pieces that come with it");
  if (!parsed->meta_in_data)
    invariant(parsed->meta.size() == parsed->frame.meta_bytes &&
                  parsed->meta.data() + parsed->meta.size() == header.data() + header.size(),
              "a short meta is the rest of the header");
}

void check_head(std::span<const std::byte> message) {
  auto rest = message;
  const auto head = take_head(rest);
  if (!head) return;
  const auto size = sizeof(channel_header) + (head->channel.room_follows != 0 ? sizeof(room_header) : 0);
  invariant(rest.size() + size == message.size(), "a head has one of two sizes");
}

void check_parcel(std::span<const std::byte> parcel) {
  parcel_reader reader(parcel);
  const auto* at = parcel.data();
  while (const auto frame = reader.next()) {
    invariant(frame->meta.size() == frame->header.meta_bytes, "a frame has the size it says");
    invariant(frame->meta.data() == at + sizeof(frame_header), "frames follow one another");
    invariant(frame->meta.data() + frame->meta.size() <= parcel.data() + parcel.size(), "inside the parcel");
    at = frame->meta.data() + padded(frame->meta.size());
  }
  invariant(!reader.complete() || at >= parcel.data() + parcel.size(), "a complete parcel is frames to its end");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t prefix = 1 + sizeof(std::uint64_t);
  if (size < prefix) return 0;
  std::uint64_t data_bytes = 0;
  std::memcpy(&data_bytes, data + 1, sizeof(data_bytes));
  const auto bytes = std::as_bytes(std::span(data, size)).subspan(prefix);
  const std::size_t shift = data[0] % 16;
  std::vector<std::byte> room(shift + bytes.size()); // exactly: a read behind the end is seen
  std::ranges::copy(bytes, room.begin() + static_cast<std::ptrdiff_t>(shift));
  check_bulk(std::span(room).subspan(shift), data_bytes);
  const std::vector<std::byte> aligned(bytes.begin(), bytes.end());
  check_parcel(aligned);
  check_head(aligned);
  return 0;
}
