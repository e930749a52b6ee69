// Any bytes are refused in one line, or are a header whose sizes are within the limits and that is written again the
// same, or a batch whose frames lie one after the other inside it. The first byte shifts the rest off its alignment.
#include "runtime/core/invariant.hpp"
#include "runtime/net/wire.hpp"

#include <algorithm>

using namespace troupe;
using namespace troupe::net;

namespace {

template <class T>
bool refused(const result<T>& parsed) {
  if (parsed) return false;
  const auto& why = parsed.error().message;
  invariant(why.starts_with("frame: ") && why.find('\n') == std::string::npos, "a refusal is one line");
  return true;
}

void check_frame(std::span<const std::byte> header) {
  const auto parsed = parse_frame(header);
  if (refused(parsed)) return;
  std::size_t data_bytes = parsed->head.meta_bytes;
  for (const auto size : parsed->segment_bytes) {
    invariant(size <= limits::segment_bytes_max, "segments are bounded");
    data_bytes += size;
  }
  invariant(data_bytes == parsed->data_bytes, "the data is meta and segments");
  const auto again = make_frame(*parse_envelope(header), parsed->head, parsed->segment_bytes);
  invariant(std::ranges::equal(again.bytes(), header), "a header says nothing that is not read");
}

void check_credit(std::span<const std::byte> header) {
  const auto parsed = parse_credit(header);
  if (refused(parsed) || refused(parse_envelope(header))) return;
  const auto again = make_credit(*parse_envelope(header), *parsed);
  invariant(std::ranges::equal(again.bytes(), header), "credit says nothing that is not read");
}

void check_batch(std::span<const std::byte> data) {
  std::vector<batch_item> items;
  if (refused(parse_batch(data, items))) {
    invariant(items.empty(), "a refused batch gives no frame");
    return;
  }
  std::size_t at = 0;
  for (const auto& item : items) {
    invariant(item.meta.size() == item.head.meta_bytes, "a frame has the size it says");
    invariant(item.meta.data() == data.data() + at + sizeof(frame_head), "frames follow one another");
    at += batch_item_bytes(item.meta.size());
  }
  invariant(at == data.size(), "frames fill the batch");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::vector<std::byte> room(size + 15);
  const auto bytes = std::span(room).subspan(data[0] % 16, size - 1);
  std::ranges::copy(std::as_bytes(std::span(data, size)).subspan(1), bytes.begin());
  check_frame(bytes);
  check_credit(bytes);
  check_batch(bytes);
  return 0;
}
