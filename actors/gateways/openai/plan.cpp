#include "actors/gateways/openai/plan.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/core/philox.hpp"

#include <algorithm>
#include <utility>

namespace troupe::openai {

namespace {

constexpr int completion_max_tokens_default = 16; // OpenAI's

const char* prompt_field(const request& r) { return r.endpoint == endpoint::chat_completions ? "messages" : "prompt"; }

/// Refuses without encoding what cannot fit: the longest token bounds the number of tokens from below.
reply<void> check_size(std::size_t bytes, const request& r, const text_side& text) {
  const auto tokens_min = bytes / text.tokenizer.longest_token_bytes();
  if (tokens_min <= static_cast<std::size_t>(text.max_model_len)) return {};
  return bad_request(prompt_field(r),
                     "this model's context is " + std::to_string(text.max_model_len) + " tokens; the prompt has " +
                         std::to_string(tokens_min) + " or more",
                     "context_length_exceeded");
}

/// Raw prompts may spell markers: they are the whole prompt, and token ids could say the same.
reply<std::vector<token_id>> encode(const std::string& prompt, const request& r, const text_side& text) {
  TROUPE_TRY(check_size(prompt.size(), r, text));
  auto encoded = text.tokenizer.encode(prompt, model::special_tokens::match);
  if (!encoded) return bad_request("prompt", "prompt: " + encoded.error().message);
  auto tokens = *std::move(encoded);
  if (r.add_special_tokens && (tokens.empty() || tokens.front() != text.bos_token))
    tokens.insert(tokens.begin(), text.bos_token);
  return tokens;
}

reply<void> check_prompt(const std::vector<token_id>& prompt, const request& r, const text_side& text) {
  const std::string field = prompt_field(r);
  if (prompt.empty()) return bad_request(field, field + ": must have at least one token");
  if (*std::max_element(prompt.begin(), prompt.end()) >= text.vocab_size)
    return bad_request(field, field + ": token ids must be below " + std::to_string(text.vocab_size));
  if (prompt.size() < static_cast<std::size_t>(text.max_model_len)) return {};
  return bad_request(field,
                     "this model's context is " + std::to_string(text.max_model_len) +
                         " tokens, answer included; the prompt has " + std::to_string(prompt.size()),
                     "context_length_exceeded");
}

/// What is asked for, as far as the context has room.
int max_tokens_of(const request& r, std::size_t prompt_size, const text_side& text) {
  const bool chat = r.endpoint == endpoint::chat_completions;
  const int otherwise = chat ? limits::max_tokens_max : completion_max_tokens_default;
  return std::min(r.sampling.max_tokens.value_or(otherwise), text.max_model_len - static_cast<int>(prompt_size));
}

sampling_params sampling_of(const request& r, const text_side& text) {
  const auto& wish = r.sampling;
  const auto& inherited = text.defaults;
  const auto pick = [](const auto& asked, const auto& given, double otherwise) {
    return static_cast<float>(asked ? *asked : given ? *given : otherwise);
  };
  sampling_params out;
  const double temperature = inherited.do_sample ? inherited.temperature.value_or(1) : 0;
  out.temperature = static_cast<float>(wish.temperature.value_or(temperature));
  out.top_p = pick(wish.top_p, inherited.top_p, 1);
  out.min_p = pick(wish.min_p, inherited.min_p, 0);
  out.top_k = std::max(0, wish.top_k.value_or(inherited.top_k.value_or(0)));
  out.repetition_penalty = static_cast<float>(wish.repetition_penalty.value_or(1));
  out.presence_penalty = static_cast<float>(wish.presence_penalty.value_or(0));
  out.frequency_penalty = static_cast<float>(wish.frequency_penalty.value_or(0));
  out.ignore_eos = wish.ignore_eos;
  out.stop_token_ids = wish.stop_token_ids;
  out.logprobs = r.logprobs;
  out.prompt_logprobs = r.echo && r.logprobs >= 0;
  return out;
}

std::string echo_of(const request& r, std::size_t prompt, const std::vector<token_id>& tokens, const text_side& text) {
  if (!r.echo) return {};
  const auto* written = std::get_if<std::string>(&r.prompts[prompt]);
  return written ? *written : text.tokenizer.decode(tokens);
}

} // namespace

std::uint64_t default_seed(std::uint64_t server_seed, std::uint64_t number) {
  const auto low = static_cast<std::uint32_t>(number), high = static_cast<std::uint32_t>(number >> 32);
  const auto bits =
      philox4x32({low, high, static_cast<std::uint32_t>(draw_stream::data), 0},
                 {static_cast<std::uint32_t>(server_seed), static_cast<std::uint32_t>(server_seed >> 32)});
  return std::uint64_t{bits[1]} << 32 | bits[0];
}

reply<std::vector<std::vector<token_id>>> encode_prompts(const request& r, const text_side& text) {
  std::vector<std::vector<token_id>> out;
  if (r.endpoint == endpoint::chat_completions) {
    std::size_t bytes = 0;
    for (const auto& message : r.messages) bytes += message.content.size();
    TROUPE_TRY(check_size(bytes, r, text));
    auto tokens = model::encode_chat(text.format, text.tokenizer, r.messages, r.add_generation_prompt);
    if (!tokens) return bad_request("messages", "messages: " + tokens.error().message);
    out.push_back(*std::move(tokens));
    return out;
  }
  for (const auto& prompt : r.prompts) {
    if (const auto* tokens = std::get_if<std::vector<token_id>>(&prompt)) {
      out.push_back(*tokens);
      continue;
    }
    TROUPE_ASSIGN(auto tokens, encode(std::get<std::string>(prompt), r, text));
    out.push_back(std::move(tokens));
  }
  return out;
}

reply<std::vector<choice_plan>> plan(const request& r, const text_side& text, std::uint64_t number) {
  if (!r.model.empty() && r.model != text.model_name)
    return api_error{.status = 404,
                     .message =
                         "the model \"" + r.model + "\" does not exist; this server has \"" + text.model_name + "\"",
                     .param = "model",
                     .code = "model_not_found"};
  TROUPE_ASSIGN(const auto prompts, encode_prompts(r, text));
  const auto seed = r.sampling.seed.value_or(default_seed(text.seed, number));

  std::vector<choice_plan> out;
  for (std::size_t p = 0; p < prompts.size(); ++p) {
    TROUPE_TRY(check_prompt(prompts[p], r, text));
    for (int i = 0; i < r.n; ++i) {
      choice_plan choice{.index = static_cast<int>(out.size())};
      choice.generation.prompt = prompts[p];
      choice.generation.priority = r.priority;
      choice.generation.sampling = sampling_of(r, text);
      choice.generation.sampling.seed = seed + static_cast<std::uint64_t>(i);
      choice.generation.sampling.max_tokens = max_tokens_of(r, prompts[p].size(), text);
      choice.generation.sampling.min_tokens = std::min(r.sampling.min_tokens, choice.generation.sampling.max_tokens);
      choice.echo = echo_of(r, p, prompts[p], text);
      out.push_back(std::move(choice));
    }
  }
  return out;
}

} // namespace troupe::openai
