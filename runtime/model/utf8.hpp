// UTF-8 as the Unicode Standard's table 3-7 defines it: no surrogates, no overlong forms, nothing above U+10FFFF.
// What is not valid becomes one U+FFFD for each maximal invalid prefix, as Rust's and Python's decoders do.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace troupe::model {

enum class utf8_state : std::uint8_t {
  complete,   ///< a valid code point
  incomplete, ///< the text ends inside what may become a valid code point
  invalid,    ///< no continuation makes it valid
};

/// The code point a text begins with, and the bytes it takes (of the maximal invalid prefix when `invalid`).
struct utf8_head {
  utf8_state state;
  std::size_t size;
};

/// Looks at the first code point of `text`, which is not empty.
utf8_head first_code_point(std::string_view text);

/// Offset of the first byte that is not part of valid UTF-8, or npos.
std::size_t find_invalid_utf8(std::string_view text);

/// Turns bytes that arrive token by token into valid UTF-8: holds back at most 3 bytes of an incomplete code point,
/// replaces what can never become one by U+FFFD. The text does not depend on how the bytes were cut.
class utf8_stream {
 public:
  /// The text that became complete by appending `bytes`.
  std::string push(std::string_view bytes);
  /// The rest at the end of the stream: one U+FFFD for an unfinished code point, or nothing.
  std::string finish();

 private:
  std::string pending_;
};

} // namespace troupe::model
