#include "runtime/model/utf8.hpp"

#include <cstring>
#include <utility>

namespace troupe::model {
namespace {

constexpr std::string_view replacement = "\uFFFD";

std::size_t sequence_size(std::uint8_t lead) {
  if (lead < 0x80) return 1;
  if (lead < 0xC2) return 0; // continuation bytes and overlong two-byte forms
  if (lead < 0xE0) return 2;
  if (lead < 0xF0) return 3;
  return lead < 0xF5 ? 4 : 0;
}

bool eight_ascii_bytes_at(const char* p) {
  std::uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return (word & 0x8080808080808080u) == 0;
}

} // namespace

utf8_head first_code_point(std::string_view text) {
  const auto lead = static_cast<std::uint8_t>(text[0]);
  const std::size_t size = sequence_size(lead);
  if (size == 0) return {utf8_state::invalid, 1};
  // The lead byte narrows the range of the second byte only.
  std::uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  std::uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (std::size_t i = 1; i < size; ++i) {
    if (i == text.size()) return {utf8_state::incomplete, i};
    const auto byte = static_cast<std::uint8_t>(text[i]);
    if (byte < low || byte > high) return {utf8_state::invalid, i};
    low = 0x80;
    high = 0xBF;
  }
  return {utf8_state::complete, size};
}

std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (text.size() - at >= 8 && eight_ascii_bytes_at(text.data() + at)) {
      at += 8;
      continue;
    }
    const auto head = first_code_point(text.substr(at));
    if (head.state != utf8_state::complete) return at;
    at += head.size;
  }
  return std::string_view::npos;
}

std::string utf8_stream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string text;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const auto head = first_code_point(rest);
    if (head.state == utf8_state::incomplete) break;
    text += head.state == utf8_state::complete ? rest.substr(0, head.size) : replacement;
    rest.remove_prefix(head.size);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return text;
}

std::string utf8_stream::finish() { return std::exchange(pending_, {}).empty() ? "" : std::string(replacement); }

} // namespace troupe::model
