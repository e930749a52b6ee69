// Cuts a text into the pieces that BPE merges within: the `pre_tokenizer` of tokenizer.json as a list of steps, each of
// which sees every piece of the step before as a text of its own (model-spec.md 11.1).
#pragma once

#include "runtime/core/result.hpp"
#include "runtime/model/pre_tokenizer_pattern.hpp"

#include <cstdint>
#include <functional>
#include <string_view>
#include <variant>
#include <vector>

namespace troupe::model {

/// What becomes of a match and of the unmatched stretches around it.
enum class split_behavior : std::uint8_t { isolated, removed, merged_with_previous, merged_with_next, contiguous };

/// `Split`, `Digits` and the expression of `ByteLevel`.
struct split_step {
  pre_tokenizer_pattern pattern;
  split_behavior behavior = split_behavior::isolated;
  bool invert = false; ///< matches and stretches between them change roles
};

/// `ByteLevel` with add_prefix_space: a piece that does not begin with a space gets one.
struct prefix_space_step {};

using pre_tokenizer_step = std::variant<split_step, prefix_space_step>;

/// Immutable and thread-safe.
class pre_tokenizer {
 public:
  using sink = std::function<void(std::string_view piece)>;

  explicit pre_tokenizer(std::vector<pre_tokenizer_step> steps) : steps_(std::move(steps)) {}

  /// Hands the non-empty pieces of `text` (valid UTF-8) to `out`, in order. A piece is valid during the call only.
  /// Errors: bad_input when a pattern needs too many steps on this text.
  result<void> split(std::string_view text, const sink& out) const { return run(0, text, out); }

 private:
  result<void> run(std::size_t step, std::string_view piece, const sink& out) const;
  result<void> run_split(const split_step& split, std::size_t next_step, std::string_view text, const sink& out) const;

  std::vector<pre_tokenizer_step> steps_;
};

} // namespace troupe::model
