#include "runtime/model/pre_tokenizer.hpp"

#include "runtime/model/utf8.hpp"

namespace troupe::model {
namespace {

/// True when a segment belongs to the piece before it. `after_match` says what the segment before it was.
bool joins(split_behavior behavior, bool is_match, bool after_match) {
  switch (behavior) {
  case split_behavior::merged_with_previous: return is_match && !after_match;
  case split_behavior::merged_with_next: return !is_match && after_match;
  case split_behavior::contiguous: return is_match == after_match;
  default: return false;
  }
}

/// All matches of a pattern, as Oniguruma's iterator finds them: an empty match right after a match does not count.
class match_iterator {
 public:
  match_iterator(const pre_tokenizer_pattern& pattern, std::string_view text) : pattern_(pattern), text_(text) {}

  result<std::optional<text_range>> next() {
    while (from_ <= text_.size()) {
      TROUPE_ASSIGN(const auto found, pattern_.find(text_, from_));
      if (!found) break;
      if (found->end == found->begin && found->end == last_end_) {
        from_ += from_ < text_.size() ? first_code_point(text_.substr(from_)).size : 1;
        continue;
      }
      from_ = last_end_ = found->end;
      return found;
    }
    return std::optional<text_range>();
  }

 private:
  const pre_tokenizer_pattern& pattern_;
  std::string_view text_;
  std::size_t from_ = 0;
  std::size_t last_end_ = std::string_view::npos;
};

} // namespace

result<void> pre_tokenizer::run(std::size_t step, std::string_view piece, const sink& out) const {
  if (piece.empty()) return {};
  if (step == steps_.size()) {
    out(piece);
    return {};
  }
  if (const auto* split = std::get_if<split_step>(&steps_[step])) return run_split(*split, step + 1, piece, out);
  return piece.starts_with(' ') ? run(step + 1, piece, out) : run(step + 1, " " + std::string(piece), out);
}

result<void> pre_tokenizer::run_split(const split_step& split, std::size_t next_step, std::string_view text,
                                      const sink& out) const {
  text_range pending{0, 0};
  bool after_match = false;
  const auto flush = [&] { return run(next_step, text.substr(pending.begin, pending.end - pending.begin), out); };
  const auto segment = [&](text_range range, bool matched) -> result<void> {
    if (range.begin == range.end && !matched) return {};
    const bool is_match = matched != split.invert;
    const bool joined = joins(split.behavior, is_match, after_match);
    after_match = is_match;
    if (!joined) {
      TROUPE_TRY(flush());
      pending.begin = range.begin;
    }
    const bool dropped = is_match && split.behavior == split_behavior::removed;
    pending = {dropped ? range.end : pending.begin, range.end};
    return {};
  };

  std::size_t done = 0;
  match_iterator matches(split.pattern, text);
  while (true) {
    TROUPE_ASSIGN(const auto match, matches.next());
    if (!match) break;
    TROUPE_TRY(segment({done, match->begin}, false));
    TROUPE_TRY(segment(*match, true));
    done = match->end;
  }
  TROUPE_TRY(segment({done, text.size()}, false));
  return flush();
}

} // namespace troupe::model
