// What a client asks for and what comes back, in tokens. Text (templates, stop strings, reasoning) is the gateways'
// business; everything from the router inwards speaks in these types.
#pragma once

#include "runtime/core/ids.hpp"

#include <cstdint>
#include <vector>

namespace troupe {

/// How the next token is chosen. Order as in Hugging Face: penalties, temperature, top-k, top-p, min-p.
/// The draw for position p uses Philox keyed by (seed, p): it depends on nothing else (ARCHITECTURE.md, contract 2).
struct sampling_params {
  float temperature = 1.0f; ///< 0 means greedy: the arg max, lowest id on ties
  int top_k = 0;            ///< 0 means off
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f; ///< counts prompt and output, as Hugging Face does
  float presence_penalty = 0.0f;   ///< counts output only, as OpenAI does
  float frequency_penalty = 0.0f;  ///< counts output only
  std::uint64_t seed = 0;
  int max_tokens = 16;
  int min_tokens = 0; ///< end tokens are masked before that many
  bool ignore_eos = false;
  std::vector<token_id> stop_token_ids; ///< beside the model's own end tokens
  int logprobs = -1;                    ///< alternatives to report per token; -1 means none, 0 the chosen one only
  bool prompt_logprobs = false;         ///< also report every prompt token after the first (`echo`)
};

struct generation_request {
  request_id id;
  std::vector<token_id> prompt; ///< at least one token
  sampling_params sampling;
  int priority = 0; ///< smaller runs first, ties by arrival
  /// What the client has already got, when the request is taken over from a kv_cache that went away. Counts as output
  /// everywhere (max_tokens, penalties, positions); events go on at index output.size().
  std::vector<token_id> output;
};

enum class finish_reason : std::uint8_t { none, stop, length, cancelled, failed };

/// Log probability of one candidate under the raw model distribution (before temperature and masks).
struct token_logprob {
  token_id token = 0;
  float logprob = 0;
};

/// One step of one request's answer. Events of a request arrive in order, each index once; the last one has
/// `finish != none` (and `token == -1` if it carries no token).
struct token_event {
  request_id id;
  std::int32_t index = 0; ///< 0-based position in the output; negative: prompt position `index + prompt size`
  token_id token = -1;
  float logprob = 0;
  std::vector<token_logprob> top; ///< `sampling.logprobs` best candidates, best first
  finish_reason finish = finish_reason::none;
  std::int32_t queue_ms = 0; ///< with index 0: how long the request waited in the kv_cache for its first step
};

} // namespace troupe
