#include "actors/gateways/openai/response.hpp"

#include "runtime/model/utf8.hpp"

#include <algorithm>
#include <utility>

namespace troupe::openai {

namespace {

namespace json = boost::json;

json::value text_or_null(const std::string& text) { return text.empty() ? json::value(nullptr) : json::value(text); }

/// A token alone may be part of a code point: readable text here, exact bytes beside it.
std::string token_text(const model::tokenizer& tok, token_id id) {
  return tok.decode(std::span(&id, 1), /*skip_special=*/false);
}

json::object token_entry(const model::tokenizer& tok, token_id id, float logprob) {
  json::array bytes;
  for (const char c : tok.bytes(id)) bytes.emplace_back(static_cast<unsigned char>(c));
  return {{"token", token_text(tok, id)}, {"logprob", logprob}, {"bytes", std::move(bytes)}};
}

std::size_t code_points(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

json::value object_or_null(json::value logprobs) { return logprobs.is_null() ? json::value(nullptr) : logprobs; }

void add_ending(json::object& choice, choice_part& part) {
  choice["logprobs"] = object_or_null(std::move(part.logprobs));
  choice["finish_reason"] = text_or_null(part.finish_reason);
  choice["stop_reason"] = std::move(part.stop_reason);
}

} // namespace

json::object chat_logprobs(const std::vector<token_record>& records, int top_count, const model::tokenizer& tok) {
  json::array content;
  for (const auto& record : records) {
    auto entry = token_entry(tok, record.token, record.logprob.value_or(0));
    json::array top;
    for (int i = 0; i < std::min(top_count, static_cast<int>(record.top.size())); ++i)
      top.push_back(token_entry(tok, record.top[i].token, record.top[i].logprob));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

json::object text_logprobs(const std::vector<token_record>& records, int top_count, const model::tokenizer& tok,
                           std::size_t& offset) {
  json::array tokens, logprobs, tops, offsets;
  for (const auto& record : records) {
    tokens.emplace_back(token_text(tok, record.token));
    logprobs.push_back(record.logprob ? json::value(*record.logprob) : json::value(nullptr));
    offsets.emplace_back(offset);
    offset += code_points(tok.bytes(record.token));
    json::object top;
    if (record.logprob) top[token_text(tok, record.token)] = *record.logprob;
    for (int i = 0; i < std::min(top_count, static_cast<int>(record.top.size())); ++i)
      top[token_text(tok, record.top[i].token)] = record.top[i].logprob;
    tops.push_back(record.logprob ? json::value(std::move(top)) : json::value(nullptr));
  }
  return {{"tokens", std::move(tokens)},
          {"token_logprobs", std::move(logprobs)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

json::object usage_json(const usage_counts& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"completion_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}}};
}

json::object whole_choice(endpoint where, choice_part part) {
  json::object out{{"index", part.index}};
  if (where == endpoint::completions) {
    out["text"] = part.content;
  } else {
    json::object message{{"role", "assistant"}, {"content", std::move(part.content)}};
    message["reasoning"] = text_or_null(part.reasoning);
    message["reasoning_content"] = text_or_null(part.reasoning);
    out["message"] = std::move(message);
  }
  add_ending(out, part);
  return out;
}

json::object chunk_choice(endpoint where, choice_part part) {
  json::object out{{"index", part.index}};
  if (where == endpoint::completions) {
    out["text"] = part.content;
  } else {
    json::object delta;
    if (part.first) delta["role"] = "assistant";
    if (!part.reasoning.empty()) {
      delta["reasoning"] = part.reasoning;
      delta["reasoning_content"] = part.reasoning;
    } else if (part.first || !part.content.empty()) {
      delta["content"] = part.content;
    }
    out["delta"] = std::move(delta);
  }
  add_ending(out, part);
  return out;
}

json::object answer(endpoint where, const answer_head& head, bool chunk, json::array choices,
                    std::optional<json::value> usage) {
  const char* object = where == endpoint::completions ? "text_completion"
                       : chunk                        ? "chat.completion.chunk"
                                                      : "chat.completion";
  json::object out{{"id", head.id},
                   {"object", object},
                   {"created", head.created},
                   {"model", head.model},
                   {"choices", std::move(choices)}};
  if (usage) out["usage"] = *std::move(usage);
  return out;
}

json::object models_list(const std::string& model, std::int64_t created, int max_model_len) {
  return {{"object", "list"},
          {"data", json::array{json::object{{"id", model},
                                            {"object", "model"},
                                            {"created", created},
                                            {"owned_by", "troupe"},
                                            {"root", model},
                                            {"parent", nullptr},
                                            {"max_model_len", max_model_len}}}}};
}

} // namespace troupe::openai
