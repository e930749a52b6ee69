// From a checked request to tokens: templates, tokenizing, inherited defaults, seeds. Everything that can be refused is
// refused here or before, so that a stream never begins with an error.
#pragma once

#include "actors/gateways/openai/request.hpp"
#include "actors/gateways/text_side.hpp"
#include "runtime/core/generation.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace troupe::openai {

/// One answer to make: the `index` of its choice, and the request for the router, still without an id.
struct choice_plan {
  int index = 0;
  generation_request generation{};
  std::string echo{}; ///< the prompt as text, when the client wants it back
};

/// All answers of a request. `number` counts the server's requests.
/// Errors: 404 for another model, 400 for prompts that do not fit.
reply<std::vector<choice_plan>> plan(const request& r, const text_side& text, std::uint64_t number);

/// The prompts of a request in tokens; also what /tokenize answers with.
reply<std::vector<std::vector<token_id>>> encode_prompts(const request& r, const text_side& text);

/// The seed of request `number` when the client gives none: Philox of both, so that a server started with the same
/// --seed gives the same answers to the same sequence of requests. Choice i of a request uses its seed + i (as vLLM).
std::uint64_t default_seed(std::uint64_t server_seed, std::uint64_t number);

} // namespace troupe::openai
