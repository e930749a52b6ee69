// One answer while it grows: token events in, the text and the token records they make visible out.
#pragma once

#include "actors/gateways/openai/plan.hpp"
#include "actors/gateways/openai/response.hpp"
#include "runtime/model/text_stream.hpp"

#include <string>
#include <vector>

namespace troupe::openai {

class choice_stream {
 public:
  /// `r` and `text` must outlive it.
  choice_stream(const request& r, choice_plan plan, const text_side& text);

  /// The parts that `event` makes visible, at most three: prompt echo, the token's text, the end with what was held
  /// back. None for events after the end.
  std::vector<choice_part> push(const token_event& event);

  bool done() const { return done_; }
  /// The cluster gave the request up.
  bool failed() const { return failed_; }
  /// A stop string ended the answer: the router does not know yet and has to be told.
  bool ended_by_stop_string() const { return done_ && text_.stopped(); }

  std::int64_t prompt_tokens() const { return static_cast<std::int64_t>(plan_.generation.prompt.size()); }
  std::int64_t completion_tokens() const { return completion_tokens_; }
  std::int64_t reasoning_tokens() const { return text_.reasoning_tokens(); }
  const std::string& finish_reason() const { return finish_reason_; }
  const choice_plan& plan() const { return plan_; }

 private:
  choice_part part(std::string reasoning, std::string content);
  void record(const token_event& event);
  void end(const token_event& event, std::vector<choice_part>& out);

  const request& request_;
  choice_plan plan_;
  const model::tokenizer& tok_;
  model::text_stream text_;
  std::vector<token_record> records_; // not yet shown
  std::size_t text_offset_ = 0;
  std::int64_t completion_tokens_ = 0;
  std::string finish_reason_;
  bool begun_ = false;
  bool echo_due_;
  bool done_ = false;
  bool failed_ = false;
};

} // namespace troupe::openai
