#include "actors/gateways/openai/completion.hpp"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <utility>

namespace troupe::openai {

namespace {

namespace json = boost::json;

/// Appends the arrays of one logprobs object to those of another.
void append_logprobs(json::value& to, json::value from) {
  if (to.is_null()) to = json::object();
  if (from.is_null()) return;
  for (auto& [key, more] : from.get_object()) {
    auto& field = to.get_object()[key];
    if (!more.is_array()) continue;
    if (!field.is_array()) field.emplace_array();
    for (auto& entry : more.get_array()) field.get_array().push_back(std::move(entry));
  }
}

} // namespace

completion::completion(openai::request r, std::vector<choice_plan> plans, const text_side& text, answer_head head)
    : request_(std::make_unique<openai::request>(std::move(r))), head_(std::move(head)) {
  choices_.reserve(plans.size());
  for (auto& plan : plans) {
    whole_.push_back({.index = plan.index});
    choices_.emplace_back(*request_, std::move(plan), text);
  }
}

std::vector<std::string> completion::push(std::size_t i, const token_event& event) {
  std::vector<std::string> out;
  for (auto& part : choices_[i].push(event)) {
    if (choices_[i].failed()) continue; // an error follows instead
    if (request_->stream)
      out.push_back(chunk(std::move(part)));
    else
      keep(i, std::move(part));
  }
  return out;
}

bool completion::done() const {
  return std::all_of(choices_.begin(), choices_.end(), [](const auto& c) { return c.done(); });
}

bool completion::failed() const {
  return std::any_of(choices_.begin(), choices_.end(), [](const auto& c) { return c.failed(); });
}

std::vector<std::string> completion::last_chunks() const {
  if (!request_->include_usage) return {};
  return {json::serialize(answer(request_->endpoint, head_, true, {}, json::value(usage_json(usage()))))};
}

std::string completion::body() const {
  json::array choices;
  for (const auto& part : whole_) choices.push_back(whole_choice(request_->endpoint, part));
  return json::serialize(
      answer(request_->endpoint, head_, false, std::move(choices), json::value(usage_json(usage()))));
}

usage_counts completion::usage() const {
  usage_counts out;
  for (std::size_t i = 0; i < choices_.size(); ++i) {
    if (i % static_cast<std::size_t>(request_->n) == 0) out.prompt_tokens += choices_[i].prompt_tokens();
    out.completion_tokens += choices_[i].completion_tokens();
    out.reasoning_tokens += choices_[i].reasoning_tokens();
  }
  return out;
}

void completion::keep(std::size_t i, choice_part part) {
  auto& whole = whole_[i];
  whole.reasoning += part.reasoning;
  whole.content += part.content;
  if (request_->logprobs >= 0) append_logprobs(whole.logprobs, std::move(part.logprobs));
  if (part.finish_reason.empty()) return;
  whole.finish_reason = std::move(part.finish_reason);
  whole.stop_reason = std::move(part.stop_reason);
}

std::string completion::chunk(choice_part part) const {
  json::array choices{chunk_choice(request_->endpoint, std::move(part))};
  const auto usage = request_->include_usage ? std::optional<json::value>(nullptr) : std::nullopt;
  return json::serialize(answer(request_->endpoint, head_, true, std::move(choices), usage));
}

} // namespace troupe::openai
