#include "runtime/model/text_stream.hpp"

#include <algorithm>
#include <utility>

namespace troupe::model {

text_stream::text_stream(const tokenizer& tok, text_stream_options options)
    : tok_(tok), options_(std::move(options)), in_reasoning_(options_.split_reasoning && options_.starts_in_reasoning) {
  std::erase(options_.stop, "");
  if (!options_.split_reasoning) return;
  think_begin_ = tok.find("<think>");
  think_end_ = tok.find("</think>");
}

text_delta text_stream::push(token_id id) {
  if (stopped() || id < 0) return {};
  if (id == think_end_ && in_reasoning_) return end_reasoning();
  // R1-0528 opens its reasoning itself; further on `<think>` is text like any other.
  if (id == think_begin_ && !std::exchange(any_text_, true)) {
    in_reasoning_ = drop_newlines_ = true;
    return {};
  }
  if (in_reasoning_) ++reasoning_tokens_;
  if (options_.skip_special && tok_.is_special(id)) return {};
  any_text_ = true;
  return append(utf8_.push(tok_.bytes(id)));
}

text_delta text_stream::finish() {
  if (stopped()) return {};
  auto delta = append(utf8_.finish());
  if (delta.stopped) return delta;
  const auto rest = show(std::exchange(held_, {}));
  delta.reasoning += rest.reasoning;
  delta.content += rest.content;
  return delta;
}

text_delta text_stream::append(std::string_view text) {
  held_ += text;
  const bool stopped = cut_at_stop();
  const auto certain = held_.size() - (stopped ? 0 : held_back_size());
  auto delta = show(std::string_view(held_).substr(0, certain));
  delta.stopped = stopped;
  held_.erase(0, certain);
  return delta;
}

// Everything before the marker becomes visible at once, so that no delta ever mixes reasoning and content.
text_delta text_stream::end_reasoning() {
  held_ += utf8_.finish();
  const auto reasoning_size = held_.size();
  held_ += tok_.bytes(think_end_);
  const bool stopped = cut_at_stop();
  auto delta = show(std::string_view(held_).substr(0, reasoning_size));
  delta.stopped = stopped;
  held_.clear();
  in_reasoning_ = false;
  drop_newlines_ = true;
  return delta;
}

// Ends `held_` at the first stop string. True if there was one.
bool text_stream::cut_at_stop() {
  auto first = std::string::npos;
  for (const auto& stop : options_.stop)
    if (const auto at = held_.find(stop); at < first) {
      first = at;
      stop_string_ = stop;
    }
  if (!stopped()) return false;
  held_.resize(first + (options_.include_stop_str_in_output ? stop_string_->size() : 0));
  return true;
}

text_delta text_stream::show(std::string_view text) {
  if (drop_newlines_) text.remove_prefix(std::min(text.find_first_not_of('\n'), text.size()));
  if (!text.empty()) drop_newlines_ = false;
  text_delta delta;
  (in_reasoning_ ? delta.reasoning : delta.content) = text;
  return delta;
}

// The longest end of `held_` that a stop string begins with. Never cuts a code point: both sides are valid UTF-8.
std::size_t text_stream::held_back_size() const {
  const std::string_view held = held_;
  std::size_t longest = 0;
  for (const std::string_view stop : options_.stop)
    for (std::size_t size = std::min(held.size(), stop.size() - 1); size > longest; --size)
      if (held.ends_with(stop.substr(0, size))) longest = size;
  return longest;
}

} // namespace troupe::model
