#include "actors/gateways/openai/request.hpp"

#include "actors/gateways/openai/fields.hpp"
#include "runtime/core/limits.hpp"

#include <array>
#include <limits>
#include <string_view>
#include <utility>

namespace troupe::openai {

namespace {

/// Would change the answer if they were honoured, so silence about them would be a lie. Harmless at these values.
void refuse_unsupported(fields& in) {
  for (const std::string_view name : {"tools", "functions", "logit_bias"}) {
    const auto* value = in.find(name);
    const bool empty = value == nullptr || (value->is_array() && value->get_array().empty()) ||
                       (value->is_object() && value->get_object().empty());
    if (!empty) in.blame(name, "is not supported", "unsupported");
  }
  for (const std::string_view name : {"suffix", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
                                      "structured_outputs", "use_beam_search", "audio", "prompt_logprobs"})
    if (const auto* value = in.find(name); value != nullptr && *value != false && *value != "")
      in.blame(name, "is not supported", "unsupported");
  if (const auto* format = in.object("response_format")) {
    const auto* type = format->if_contains("type");
    if (type == nullptr || *type != "text")
      in.blame("response_format", "only type \"text\" is supported", "unsupported");
  }
}

void read_sampling(fields& in, sampling_wish& s) {
  const auto to_int = [](std::optional<std::int64_t> x) {
    return x ? std::optional<int>(static_cast<int>(*x)) : std::nullopt;
  };
  constexpr int int_max = std::numeric_limits<int>::max();
  s.temperature = in.number("temperature", 0, 2);
  s.top_p = in.number("top_p", 0, 1);
  s.min_p = in.number("min_p", 0, 1);
  s.top_k = to_int(in.integer("top_k", -1, int_max));
  s.repetition_penalty = in.number("repetition_penalty", 0.01, 10);
  s.presence_penalty = in.number("presence_penalty", -2, 2);
  s.frequency_penalty = in.number("frequency_penalty", -2, 2);
  constexpr auto lowest = std::numeric_limits<std::int64_t>::min(), highest = std::numeric_limits<std::int64_t>::max();
  if (const auto seed = in.integer("seed", lowest, highest)) s.seed = static_cast<std::uint64_t>(*seed);
  s.max_tokens = to_int(in.integer("max_tokens", 0, limits::max_tokens_max));
  if (const auto newer = in.integer("max_completion_tokens", 0, limits::max_tokens_max)) s.max_tokens = to_int(newer);
  s.min_tokens = static_cast<int>(in.integer("min_tokens", 0, limits::max_tokens_max).value_or(0));
  if (s.max_tokens && s.min_tokens > *s.max_tokens) in.blame("min_tokens", "must not exceed max_tokens");
  s.ignore_eos = in.boolean("ignore_eos").value_or(false);
  if (const auto* ids = in.find("stop_token_ids")) {
    auto tokens = parse_tokens(*ids, "stop_token_ids");
    if (!tokens || tokens->size() > limits::stop_strings_max)
      return in.blame("stop_token_ids", "must be at most " + std::to_string(limits::stop_strings_max) + " token ids");
    s.stop_token_ids = *std::move(tokens);
  }
}

void read_stop(fields& in, request& r) {
  const auto* stop = in.find("stop");
  if (stop == nullptr) return;
  const auto add = [&](const boost::json::value& one) {
    const auto* text = one.if_string();
    if (text == nullptr || text->empty() || text->size() > limits::stop_string_bytes_max)
      return in.blame("stop", "must be strings of 1 to " + std::to_string(limits::stop_string_bytes_max) + " bytes");
    r.stop.emplace_back(text->begin(), text->end());
  };
  if (!stop->is_array()) return add(*stop);
  if (stop->get_array().size() > limits::stop_strings_max)
    return in.blame("stop", "must be at most " + std::to_string(limits::stop_strings_max) + " strings");
  for (const auto& one : stop->get_array()) add(one);
}

/// Chat: `logprobs` is a switch and `top_logprobs` the number. Completions: `logprobs` is the number.
void read_logprobs(fields& in, request& r) {
  if (r.endpoint == endpoint::completions) {
    r.logprobs = static_cast<int>(in.integer("logprobs", 0, limits::top_logprobs_max).value_or(-1));
    return;
  }
  const bool wanted = in.boolean("logprobs").value_or(false);
  const auto top = in.integer("top_logprobs", 0, limits::top_logprobs_max);
  if (top && !wanted) return in.blame("top_logprobs", "needs logprobs to be true");
  r.logprobs = wanted ? static_cast<int>(top.value_or(0)) : -1;
}

void read_stream(fields& in, request& r) {
  r.stream = in.boolean("stream").value_or(false);
  const auto* options = in.object("stream_options");
  if (options == nullptr) return;
  if (!r.stream) return in.blame("stream_options", "needs stream to be true");
  fields f(*options);
  r.include_usage = f.boolean("include_usage").value_or(false);
  if (f.failed()) in.blame("stream_options", f.error().message);
}

reply<void> read_prompt(fields& in, request& r) {
  const bool chat = r.endpoint == endpoint::chat_completions;
  const auto* source = in.find(chat ? "messages" : "prompt");
  if (in.failed()) return in.error();
  if (source == nullptr) {
    in.blame(chat ? "messages" : "prompt", "is missing");
    return in.error();
  }
  if (!chat) {
    TROUPE_ASSIGN(r.prompts, parse_prompts(*source));
    return {};
  }
  TROUPE_ASSIGN(r.messages, parse_messages(*source));
  return {};
}

} // namespace

reply<request> parse_request(endpoint where, const boost::json::object& body) {
  fields in(body);
  request r{.endpoint = where};
  r.model = in.text("model").value_or("");
  refuse_unsupported(in);
  TROUPE_TRY(read_prompt(in, r));
  read_sampling(in, r.sampling);
  read_stop(in, r);
  read_logprobs(in, r);
  read_stream(in, r);
  r.n = static_cast<int>(in.integer("n", 1, limits::choices_max).value_or(1));
  if (const auto best_of = in.integer("best_of", 1, limits::choices_max); best_of && *best_of != r.n)
    in.blame("best_of", "must equal n");
  r.echo = where == endpoint::completions && in.boolean("echo").value_or(false);
  r.add_special_tokens = in.boolean("add_special_tokens").value_or(true);
  r.add_generation_prompt = in.boolean("add_generation_prompt").value_or(true);
  r.include_stop_str_in_output = in.boolean("include_stop_str_in_output").value_or(false);
  r.skip_special_tokens = in.boolean("skip_special_tokens").value_or(true);
  r.priority = static_cast<int>(in.integer("priority", -1'000'000, 1'000'000).value_or(0));
  if (r.sampling.max_tokens == 0 && !r.echo) in.blame("max_tokens", "0 needs echo");
  if (in.failed()) return in.error();
  return r;
}

} // namespace troupe::openai
