// The JSON of answers: whole ones, stream chunks, models, token lists. Field for field what OpenAI's clients read.
#pragma once

#include "actors/gateways/openai/request.hpp"
#include "runtime/core/generation.hpp"
#include "runtime/model/tokenizer.hpp"

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace troupe::openai {

/// What all chunks of one answer share.
struct answer_head {
  std::string id;           ///< "chatcmpl-...", "cmpl-..."
  std::int64_t created = 0; ///< seconds since 1970
  std::string model;
};

/// A token with what is said about it; the first token of a prompt has no log probability.
struct token_record {
  token_id token = 0;
  std::optional<float> logprob{};
  std::vector<token_logprob> top{};
};

struct usage_counts {
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  std::int64_t reasoning_tokens = 0; ///< counted in completion_tokens too
};

/// One choice, whole or the part of one chunk.
struct choice_part {
  int index = 0;
  bool first = false; ///< of a stream: carries the role
  std::string reasoning{};
  std::string content{};
  boost::json::value logprobs{};
  std::string finish_reason{}; ///< empty: not finished
  boost::json::value stop_reason{};
};

/// `{"content":[{"token","logprob","bytes","top_logprobs"}]}`; `top_count` of each record are shown.
boost::json::object chat_logprobs(const std::vector<token_record>& records, int top_count, const model::tokenizer& tok);
/// The old parallel arrays; `offset` is where the first token's text begins, in code points, and is moved on.
boost::json::object text_logprobs(const std::vector<token_record>& records, int top_count, const model::tokenizer& tok,
                                  std::size_t& offset);

boost::json::object usage_json(const usage_counts& usage);

/// A choice of a whole answer (`message` or `text`). Reasoning has DeepSeek's name and vLLM's newer one,
/// `reasoning_content` and `reasoning`; clients read either.
boost::json::object whole_choice(endpoint where, choice_part part);
/// A choice of a stream chunk (`delta` or `text`).
boost::json::object chunk_choice(endpoint where, choice_part part);
/// The object around choices. `usage` null means the field is null, absent that it is left out.
boost::json::object answer(endpoint where, const answer_head& head, bool chunk, boost::json::array choices,
                           std::optional<boost::json::value> usage);

boost::json::object models_list(const std::string& model, std::int64_t created, int max_model_len);

} // namespace troupe::openai
