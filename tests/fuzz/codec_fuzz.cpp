// Any bytes as any message between actors are refused in one line, or make a message that is written and read again the
// same, and that is no larger than its bytes allow. The first byte chooses the message, the second the alignment.
#include "actors/codec/codec.hpp"
#include "runtime/core/invariant.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

using namespace troupe;

namespace {

template <class T>
void check(std::span<const std::byte> bytes) {
  const auto got = codec::decode<T>(bytes, nullptr);
  if (!got) {
    const auto& why = got.error().message;
    invariant(!why.empty() && why.find('\n') == std::string::npos, "a refusal is one line");
    return;
  }
  const auto written = codec::encode(*got);
  invariant(written.size() <= 64 * (bytes.size() + 64), "a message does not grow out of nothing");
  const auto again = codec::decode<T>(written, nullptr);
  invariant(again.has_value(), "what is written can be read");
  invariant(codec::encode(*again) == written, "and is the same");
}

template <std::size_t... I>
void check_one(std::size_t which, std::span<const std::byte> bytes, std::index_sequence<I...>) {
  ((which == I ? check<std::tuple_element_t<I, codec::messages>>(bytes) : void()), ...);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  constexpr auto count = std::tuple_size_v<codec::messages>;
  std::vector<std::byte> room(size + 8);
  const auto bytes = std::span(room).subspan(data[1] % 8, size - 2);
  std::ranges::copy(std::as_bytes(std::span(data, size)).subspan(2), bytes.begin());
  check_one(data[0] % count, bytes, std::make_index_sequence<count>());
  return 0;
}
