// GPT-2's printable alphabet for bytes: how tokenizer.json writes a token that is any string of bytes
// (model-spec.md 11.1). Printable bytes stand for themselves, the other 68 follow in order from U+0100.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::model {

/// The UTF-8 text of the character that stands for `byte`.
std::string symbol_of_byte(std::uint8_t byte);

/// The bytes that `symbols` (valid UTF-8) stand for, or nothing when some character is not in the alphabet.
std::optional<std::string> bytes_of_symbols(std::string_view symbols);

} // namespace troupe::model
