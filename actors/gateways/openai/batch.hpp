// One line of OpenAI's batch format, in and out.
#pragma once

#include "actors/gateways/openai/request.hpp"

#include <boost/json/object.hpp>

#include <string>
#include <string_view>

namespace troupe::openai {

/// {"custom_id": "q-1", "method": "POST", "url": "/v1/chat/completions", "body": {...}}
struct batch_line {
  std::string custom_id;
  openai::endpoint endpoint = endpoint::chat_completions;
  boost::json::object body; ///< not checked yet; never asks for a stream
};

/// Errors: 400 naming the field. Faults inside `body` are the line's own answer, later.
reply<batch_line> parse_batch_line(std::string_view line);

/// {"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error": null}, without a line break.
/// `body` is the JSON text of an answer.
std::string batch_answer(std::string_view custom_id, std::string_view request_id, int status, std::string_view body);

} // namespace troupe::openai
