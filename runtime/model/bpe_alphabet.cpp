#include "runtime/model/bpe_alphabet.hpp"

#include <array>

namespace troupe::model {
namespace {

constexpr int alphabet_end = 0x144; // 68 bytes without a printable form follow U+00FF

constexpr bool stands_for_itself(int byte) {
  return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

struct alphabet {
  std::array<int, 256> code_point{};
  std::array<int, alphabet_end> byte{};

  constexpr alphabet() {
    byte.fill(-1);
    int next = 0x100;
    for (int b = 0; b < 256; ++b) {
      code_point[b] = stands_for_itself(b) ? b : next++;
      byte[code_point[b]] = b;
    }
  }
};

constexpr alphabet table;

} // namespace

std::string symbol_of_byte(std::uint8_t byte) {
  const int code_point = table.code_point[byte];
  if (code_point < 0x80) return {static_cast<char>(code_point)};
  return {static_cast<char>(0xC0 | (code_point >> 6)), static_cast<char>(0x80 | (code_point & 0x3F))};
}

std::optional<std::string> bytes_of_symbols(std::string_view symbols) {
  std::string bytes;
  for (std::size_t at = 0; at < symbols.size(); ++at) {
    int code_point = static_cast<std::uint8_t>(symbols[at]);
    if (code_point >= 0x80) { // every character of the alphabet takes at most two bytes
      if (code_point >= 0xE0 || ++at == symbols.size()) return std::nullopt;
      code_point = (code_point & 0x1F) << 6 | (static_cast<std::uint8_t>(symbols[at]) & 0x3F);
    }
    if (code_point >= alphabet_end || table.byte[code_point] < 0) return std::nullopt;
    bytes += static_cast<char>(table.byte[code_point]);
  }
  return bytes;
}

} // namespace troupe::model
