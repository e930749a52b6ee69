// The regular expressions of tokenizer.json, which are written for Oniguruma's Ruby syntax, run by PCRE2.
// Where the two engines differ a pattern is translated, and where it cannot be it is refused: never read differently.
#pragma once

#include "runtime/core/result.hpp"

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::model {

/// Part of a text, in bytes.
struct text_range {
  std::size_t begin;
  std::size_t end;
};

/// A compiled pattern. Immutable and thread-safe. Unicode 14 categories (PCRE2 10.42).
class pre_tokenizer_pattern {
 public:
  /// Errors: bad_input with PCRE2's reason, unsupported for a construct the engines read differently.
  static result<pre_tokenizer_pattern> compile(std::string_view regex);
  /// Matches `text` itself.
  static result<pre_tokenizer_pattern> literal(std::string_view text);

  /// The first match at or after `from`. `text` is valid UTF-8 and the pattern sees all of it (look-behind).
  /// Errors: bad_input when the match needs more than limits::regex_match_steps_max.
  result<std::optional<text_range>> find(std::string_view text, std::size_t from) const;

 private:
  struct code_deleter {
    void operator()(void* code) const;
  };
  explicit pre_tokenizer_pattern(void* code) : code_(code) {}
  static result<pre_tokenizer_pattern> compile_as(std::string_view pattern, unsigned options);

  std::unique_ptr<void, code_deleter> code_; // pcre2_code
};

} // namespace troupe::model
