// The text of a tokenizer.json, checked: what it contains is known to fit together, and nothing in it is silently
// ignored that would change a token id. The only place of the tokenizer that knows JSON.
#pragma once

#include "runtime/core/ids.hpp"
#include "runtime/core/result.hpp"
#include "runtime/model/bpe.hpp"
#include "runtime/model/pre_tokenizer.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace troupe::model {

struct added_token {
  std::string content;
  token_id id = 0;
  bool special = false;
  bool normalized = false; ///< searched for only in what the other added tokens leave over
};

struct tokenizer_json {
  std::vector<std::string> vocabulary; ///< by id, in the byte alphabet (bpe_alphabet.hpp); "" where there is no token
  std::vector<bpe_merge> merges;
  bool ignore_merges = false; ///< a piece that is a token needs no merges
  std::vector<added_token> added;
  std::vector<pre_tokenizer_step> steps;
};

/// Parses and checks; `file` is only for messages. Errors: bad_input or unsupported, "file: field: reason".
result<tokenizer_json> parse_tokenizer_json(std::string_view json, std::string_view file);

} // namespace troupe::model
