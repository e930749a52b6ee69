// From the token ids of one answer to the text a client sees: UTF-8 that arrives in pieces, stop strings, and the
// border between reasoning and content (model-spec.md 12.3). Plain state of one answer; a gateway owns one per choice.
#pragma once

#include "runtime/model/tokenizer.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::model {

struct text_stream_options {
  std::vector<std::string> stop{}; ///< searched in the whole output, reasoning and `</think>` included, as vLLM does
  bool include_stop_str_in_output = false;
  bool split_reasoning = true;      ///< false (`/v1/completions`): everything is content, `</think>` stays visible
  bool starts_in_reasoning = false; ///< the prompt ended with `<think>\n` (chat_template.hpp)
  bool skip_special = true;         ///< drop tokens flagged special, like the end of sentence
};

/// What one token made visible. At most one of `reasoning` and `content` is not empty: some clients break on a chunk
/// that carries both.
struct text_delta {
  std::string reasoning;
  std::string content;
  bool stopped = false; ///< a stop string was met: the answer ends here, later tokens are ignored

  bool empty() const { return reasoning.empty() && content.empty(); }
};

/// Newlines right after `<think>` and `</think>` are layout of the format and are dropped, as DeepSeek's API does.
/// Text that may be the beginning of a stop string is held back, never more than the longest stop string less a byte;
/// a stop string does not reach over `</think>` into the content.
class text_stream {
 public:
  /// `tok` must outlive the stream. Empty stop strings are ignored.
  text_stream(const tokenizer& tok, text_stream_options options);

  /// The text that became certain with this token.
  text_delta push(token_id id);
  /// What is still held back, at the end of the answer.
  text_delta finish();

  bool stopped() const { return stop_string_.has_value(); }
  /// The stop string that ended the answer (`stop_reason` of vLLM's API).
  const std::optional<std::string>& stop_string() const { return stop_string_; }
  /// Tokens spent inside the reasoning part, without the two markers.
  int reasoning_tokens() const { return reasoning_tokens_; }

 private:
  text_delta append(std::string_view text);
  text_delta end_reasoning();
  bool cut_at_stop();
  text_delta show(std::string_view text);
  std::size_t held_back_size() const;

  const tokenizer& tok_;
  text_stream_options options_;
  token_id think_begin_ = -1;
  token_id think_end_ = -1;
  utf8_stream utf8_;
  std::string held_; ///< decoded, not yet shown
  std::optional<std::string> stop_string_;
  bool in_reasoning_;
  bool any_text_ = false;
  bool drop_newlines_ = false;
  int reasoning_tokens_ = 0;
};

} // namespace troupe::model
