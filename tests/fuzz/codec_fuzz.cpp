// Any bytes as any message between actors are refused in one line, or make a message that is written and read again the
// same, and that is no larger than its bytes allow. The first byte chooses the message, the second the alignment.
#include "actors/codec/codec.hpp"
#include "runtime/core/invariant.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

using namespace troupe;

namespace {

/// The decoder walks at most 2 words a word of the message and 64 more, and an element of a list may be as short as
/// that: nothing, of a peer that knows none of its fields. Written again with all of them it takes no more than this.
constexpr std::size_t element_bytes_max = 512;
constexpr std::size_t walked_words(std::size_t bytes) { return 2 * (bytes / 8) + 64; }

template <class T>
void check(std::span<const std::byte> bytes) {
  const auto got = codec::decode<T>(bytes, nullptr);
  if (!got) {
    const auto& why = got.error().message;
    invariant(!why.empty() && why.find('\n') == std::string::npos, "a refusal is one line");
    return;
  }
  const auto written = codec::encode(*got);
  invariant(written.size() <= element_bytes_max * walked_words(bytes.size()), "a message does not grow out of nothing");
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
