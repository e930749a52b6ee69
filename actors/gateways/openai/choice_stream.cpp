#include "actors/gateways/openai/choice_stream.hpp"

#include <algorithm>
#include <utility>

namespace troupe::openai {

namespace {

model::text_stream_options stream_options(const request& r, const text_side& text) {
  const bool chat = r.endpoint == endpoint::chat_completions;
  return {.stop = r.stop,
          .include_stop_str_in_output = r.include_stop_str_in_output,
          .split_reasoning = chat,
          .starts_in_reasoning = chat && r.add_generation_prompt && model::starts_in_reasoning(text.format, r.messages),
          .skip_special = r.skip_special_tokens};
}

} // namespace

choice_stream::choice_stream(const request& r, choice_plan plan, const text_side& text)
    : request_(r), plan_(std::move(plan)), tok_(text.tokenizer), text_(tok_, stream_options(r, text)),
      echo_due_(r.echo) {
  if (r.echo && r.logprobs >= 0) records_.push_back({.token = plan_.generation.prompt.front()});
}

std::vector<choice_part> choice_stream::push(const token_event& event) {
  std::vector<choice_part> out;
  if (done_) return out;
  const bool ends = event.finish != finish_reason::none;
  if (event.index < 0 && !ends) { // a prompt token, for echo
    record(event);
    return out;
  }
  if (std::exchange(echo_due_, false)) out.push_back(part({}, plan_.echo));
  if (event.token >= 0 && plan_.generation.sampling.max_tokens > 0) {
    ++completion_tokens_;
    record(event);
    auto delta = text_.push(event.token);
    if (!delta.empty()) out.push_back(part(std::move(delta.reasoning), std::move(delta.content)));
  }
  if (ends || text_.stopped()) end(event, out);
  return out;
}

void choice_stream::end(const token_event& event, std::vector<choice_part>& out) {
  done_ = true;
  failed_ = !text_.stopped() && (event.finish == finish_reason::failed || event.finish == finish_reason::cancelled);
  finish_reason_ = failed_ ? "error" : text_.stopped() || event.finish == finish_reason::stop ? "stop" : "length";
  auto rest = text_.finish();
  auto last = part(std::move(rest.reasoning), std::move(rest.content));
  last.finish_reason = finish_reason_;
  const auto& stop_ids = plan_.generation.sampling.stop_token_ids;
  if (text_.stop_string())
    last.stop_reason = boost::json::value(*text_.stop_string());
  else if (std::find(stop_ids.begin(), stop_ids.end(), event.token) != stop_ids.end())
    last.stop_reason = event.token;
  out.push_back(std::move(last));
}

// Takes the records along that have gathered since the last part: text may be held back longer than its tokens.
choice_part choice_stream::part(std::string reasoning, std::string content) {
  choice_part out{.index = plan_.index, .first = !std::exchange(begun_, true)};
  out.reasoning = std::move(reasoning);
  out.content = std::move(content);
  const int top = request_.logprobs;
  if (top < 0) return out;
  const auto records = std::exchange(records_, {});
  out.logprobs = request_.endpoint == endpoint::completions
                     ? boost::json::value(text_logprobs(records, top, tok_, text_offset_))
                     : boost::json::value(chat_logprobs(records, top, tok_));
  return out;
}

void choice_stream::record(const token_event& event) {
  if (request_.logprobs >= 0) records_.push_back({.token = event.token, .logprob = event.logprob, .top = event.top});
}

} // namespace troupe::openai
