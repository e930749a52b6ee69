// What the gateways know about the model: everything between a client's text and the router's tokens.
#pragma once

#include "runtime/core/limits.hpp"
#include "runtime/core/result.hpp"
#include "runtime/model/chat_template.hpp"
#include "runtime/model/config.hpp"
#include "runtime/model/tokenizer.hpp"

#include <cstdint>
#include <filesystem>
#include <string>

namespace troupe {

/// Immutable and thread-safe; outlives the gateways.
struct text_side {
  model::tokenizer tokenizer;
  model::chat_format format = model::chat_format::r1;
  model::generation_config defaults{}; ///< of generation_config.json: what a request inherits (vLLM's `auto`)
  std::string model_name{};            ///< the served name: what clients put into `model`
  int max_model_len = limits::max_model_len_default; ///< prompt and answer, in tokens
  int vocab_size = 0;                                ///< rows of the embedding
  token_id bos_token = 0;                            ///< goes before a completion's prompt; templates bring their own
  std::uint64_t seed = 0; ///< the server's --seed: where the seeds of requests that bring none come from
};

struct text_options {
  std::string model_name;    ///< empty: the name of the model's folder
  std::string chat_template; ///< "r1", "r1-0528", "v3"; empty: recognised from tokenizer_config.json
  int max_model_len = limits::max_model_len_default;
  std::uint64_t seed = 0;
};

/// Reads config.json, generation_config.json, tokenizer.json and tokenizer_config.json of `dir`.
/// Errors: bad_input or unsupported, naming file and reason.
result<text_side> load_text_side(const std::filesystem::path& dir, const text_options& options);

} // namespace troupe
