#include "runtime/net/bridge/segment_wire.hpp"

#include "runtime/core/limits.hpp"

#include <caf/sec.hpp>

#include <cstdint>

namespace troupe {

namespace {

/// What stands where a segment would: an index beside the frame, or the bytes themselves.
enum class place : std::uint8_t { inlined, beside };

} // namespace

namespace net {

segments_beside*& segments_beside::current() {
  static thread_local segments_beside* innermost = nullptr;
  return innermost;
}

int segments_beside::add(const segment& bytes) {
  if (out_->size() == limits::frame_segments_max) return -1;
  out_->push_back(bytes);
  return static_cast<int>(out_->size()) - 1;
}

} // namespace net

caf::error inspect(caf::serializer& f, segment& x) {
  auto* const frame = net::segments_beside::current();
  const int index = frame && frame->writing() && !x.empty() ? frame->add(x) : -1;
  if (index >= 0) {
    auto where = static_cast<std::uint8_t>(place::beside);
    auto number = static_cast<std::uint16_t>(index);
    return f(where, number);
  }
  auto where = static_cast<std::uint8_t>(place::inlined);
  auto size = static_cast<std::uint64_t>(x.size());
  if (auto failed = f(where, size)) return failed;
  return size == 0 ? caf::none : f.apply_raw(size, const_cast<std::byte*>(x.bytes().data()));
}

caf::error inspect(caf::deserializer& f, segment& x) {
  std::uint8_t where = 0;
  if (auto failed = f(where)) return failed;
  if (where == static_cast<std::uint8_t>(place::beside)) {
    std::uint16_t number = 0;
    if (auto failed = f(number)) return failed;
    const auto* const frame = net::segments_beside::current();
    if (!frame || number >= frame->received().size()) return caf::sec::end_of_stream;
    x = frame->received()[number];
    return caf::none;
  }
  std::uint64_t size = 0;
  if (auto failed = f(size)) return failed;
  if (size > limits::frame_meta_bytes_max) return caf::sec::end_of_stream;
  x = segment::allocate(size);
  return size == 0 ? caf::none : f.apply_raw(size, x.writable().data());
}

} // namespace troupe
