#include "runtime/net/wire.hpp"

#include "runtime/core/invariant.hpp"

#include <bit>
#include <cstring>
#include <string>

namespace troupe::net {

namespace {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian, and so is every peer");

error refusal(const std::string& why) { return {errc::bad_input, "frame: " + why}; }

/// Reads one after the other; whoever asks for more than there is gets nothing and knows it.
class reader {
 public:
  explicit reader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <class T>
  bool read(T& out) {
    if (rest_.size() < sizeof(T)) return false;
    std::memcpy(&out, rest_.data(), sizeof(T));
    rest_ = rest_.subspan(sizeof(T));
    return true;
  }
  std::size_t left() const { return rest_.size(); }
  std::span<const std::byte> take(std::size_t size) {
    const auto out = rest_.first(size);
    rest_ = rest_.subspan(size);
    return out;
  }

 private:
  std::span<const std::byte> rest_;
};

template <class T>
void append(header_bytes& out, const T& value) {
  invariant(out.size + sizeof(T) <= out.room.size(), "a header has room for what goes into it");
  std::memcpy(out.room.data() + out.size, &value, sizeof(T));
  out.size += sizeof(T);
}

bool known(frame_kind kind) { return kind >= frame_kind::frame && kind <= frame_kind::hot; }

result<void> check_meta(const frame_head& head) {
  if (head.meta_bytes <= limits::frame_meta_bytes_max) return {};
  return refusal("meta of " + std::to_string(head.meta_bytes) + " bytes; at most " +
                 std::to_string(limits::frame_meta_bytes_max));
}

} // namespace

result<envelope> parse_envelope(std::span<const std::byte> header) {
  envelope out;
  if (!reader(header).read(out)) return refusal("header of " + std::to_string(header.size()) + " bytes");
  if (!known(out.kind)) return refusal("unknown kind " + std::to_string(static_cast<unsigned>(out.kind)));
  return out;
}

result<frame_layout> parse_frame(std::span<const std::byte> header) {
  TROUPE_ASSIGN(const auto about, parse_envelope(header));
  frame_layout out;
  reader rest(header.subspan(sizeof(envelope)));
  if (about.segment_count > limits::frame_segments_max)
    return refusal(std::to_string(about.segment_count) + " segments; at most " +
                   std::to_string(limits::frame_segments_max));
  if (!rest.read(out.head) || rest.left() != about.segment_count * sizeof(std::uint64_t))
    return refusal("header of " + std::to_string(header.size()) + " bytes for " + std::to_string(about.segment_count) +
                   " segments");
  TROUPE_TRY(check_meta(out.head));
  out.data_bytes = out.head.meta_bytes;
  out.segment_bytes.reserve(about.segment_count);
  for (std::uint64_t size = 0; rest.read(size);) {
    if (size > limits::segment_bytes_max)
      return refusal("segment of " + std::to_string(size) + " bytes; at most " +
                     std::to_string(limits::segment_bytes_max));
    out.segment_bytes.push_back(size);
    out.data_bytes += size;
  }
  return out;
}

result<void> parse_batch(std::span<const std::byte> data, std::vector<batch_item>& items) {
  items.clear();
  const auto refuse = [&](const std::string& why) { return items.clear(), refusal(why); };
  for (reader rest(data); rest.left() != 0;) {
    frame_head head;
    if (!rest.read(head)) return refuse("a batch ends within a frame's head");
    if (batch_item_bytes(head.meta_bytes) - sizeof(frame_head) > rest.left())
      return refuse("a batch ends within a frame of " + std::to_string(head.meta_bytes) + " bytes");
    items.push_back({head, rest.take(batch_item_bytes(head.meta_bytes) - sizeof(head)).first(head.meta_bytes)});
  }
  return {};
}

result<credit_grant> parse_credit(std::span<const std::byte> header) {
  envelope about;
  credit_grant out;
  reader rest(header);
  if (!rest.read(about) || !rest.read(out) || rest.left() != 0)
    return refusal("credit of " + std::to_string(header.size()) + " bytes");
  return out;
}

header_bytes make_header(const envelope& e) {
  header_bytes out;
  append(out, e);
  return out;
}

header_bytes make_credit(const envelope& e, const credit_grant& grant) {
  auto out = make_header(e);
  append(out, grant);
  return out;
}

header_bytes make_frame(envelope e, const frame_head& head, std::span<const std::size_t> segment_bytes) {
  e.segment_count = static_cast<std::uint16_t>(segment_bytes.size());
  auto out = make_header(e);
  append(out, head);
  for (const auto size : segment_bytes) append(out, static_cast<std::uint64_t>(size));
  return out;
}

void append_to_batch(std::vector<std::byte>& batch, frame_head head, std::span<const std::byte> meta) {
  head.meta_bytes = static_cast<std::uint32_t>(meta.size());
  const auto begin = batch.size();
  batch.resize(begin + batch_item_bytes(meta.size())); // the padding is zero
  std::memcpy(batch.data() + begin, &head, sizeof(head));
  if (!meta.empty()) std::memcpy(batch.data() + begin + sizeof(head), meta.data(), meta.size());
}

} // namespace troupe::net
