// A completion request as a client wrote it, checked field by field. Still text: plan.hpp makes tokens of it.
#pragma once

#include "actors/gateways/openai/error.hpp"
#include "runtime/core/ids.hpp"
#include "runtime/model/chat_template.hpp"

#include <boost/json/object.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace troupe::openai {

enum class endpoint { chat_completions, completions };

using text_or_tokens = std::variant<std::string, std::vector<token_id>>;

/// Absent fields are filled from the model's generation_config.json, then with OpenAI's defaults.
struct sampling_wish {
  std::optional<double> temperature, top_p, min_p;
  std::optional<double> repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int> top_k; ///< -1 and 0 mean off
  std::optional<std::uint64_t> seed;
  std::optional<int> max_tokens;
  int min_tokens = 0;
  bool ignore_eos = false;
  std::vector<token_id> stop_token_ids{};
};

struct request {
  openai::endpoint endpoint = endpoint::chat_completions;
  std::string model{};
  std::vector<model::chat_message> messages{}; ///< chat
  bool add_generation_prompt = true;           ///< chat
  std::vector<text_or_tokens> prompts{};       ///< completions, one at least
  bool add_special_tokens = true;              ///< completions: BOS before a prompt that is text
  bool echo = false;                           ///< completions
  sampling_wish sampling{};
  int n = 1;
  int logprobs = -1; ///< alternatives per token; -1: no log probabilities at all
  std::vector<std::string> stop{};
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;
  bool stream = false;
  bool include_usage = false;
  int priority = 0;

  /// Answers that will be made: every prompt n times.
  int choice_count() const {
    return n * (endpoint == endpoint::chat_completions ? 1 : static_cast<int>(prompts.size()));
  }
};

/// Checks types, bounds and combinations. Features that would change the answer and are not there (tools, schemas,
/// logit_bias) are refused by name; other unknown fields are ignored.
reply<request> parse_request(endpoint where, const boost::json::object& body);

/// `messages` of a chat request or of /tokenize.
reply<std::vector<model::chat_message>> parse_messages(const boost::json::value& messages);
/// `prompt` in its four forms: text, list of texts, token ids, list of lists of token ids.
reply<std::vector<text_or_tokens>> parse_prompts(const boost::json::value& prompt);
/// A list of token ids; `name` is only for messages.
reply<std::vector<token_id>> parse_tokens(const boost::json::value& tokens, const std::string& name);

} // namespace troupe::openai
