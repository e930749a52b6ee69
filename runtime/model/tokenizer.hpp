// tokenizer.json: byte-level BPE with Hugging Face's Sequence/Split/ByteLevel pre-tokenizers (model-spec.md 11).
#pragma once

#include "runtime/core/ids.hpp"
#include "runtime/core/result.hpp"
#include "runtime/model/utf8.hpp"

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::model {

/// Whether strings like `<｜User｜>` inside a text become their token. Never allow it for text a client wrote.
enum class special_tokens { match, plain_text };

/// Immutable and thread-safe after load.
class tokenizer {
 public:
  /// Reads `dir/tokenizer.json`. Errors: bad_input naming file, field and reason.
  static result<tokenizer> load(const std::filesystem::path& dir);
  /// Parses the text of a tokenizer.json; `file` is only for messages.
  static result<tokenizer> parse(std::string_view json, std::string_view file);

  /// Token ids of UTF-8 `text`; no BOS is added. Invalid UTF-8 is bad_input.
  result<std::vector<token_id>> encode(std::string_view text, special_tokens mode) const;
  /// The bytes of one token as they appear in text; empty for ids outside the vocabulary.
  std::string_view bytes(token_id id) const;
  /// True for added tokens flagged `special` (dropped from text when decoding an answer).
  bool is_special(token_id id) const;
  /// The id of an exact token string (an added token or a vocabulary entry), or -1.
  token_id find(std::string_view token) const;
  /// Decodes all of `ids`; invalid UTF-8 becomes U+FFFD.
  std::string decode(std::span<const token_id> ids, bool skip_special = true) const;
  /// Number of tokens; every id below has one. Ids from here to the model's vocab_size must be masked in sampling.
  int vocab_size() const;
  /// Bytes of the longest token. A text of n bytes has at least n / this many tokens: a cheap bound before encoding.
  std::size_t longest_token_bytes() const;

  tokenizer(tokenizer&&) noexcept;
  tokenizer& operator=(tokenizer&&) noexcept;
  ~tokenizer();

 private:
  struct state;
  explicit tokenizer(std::unique_ptr<const state> s);
  std::unique_ptr<const state> state_;
};

} // namespace troupe::model
