#include "actors/gateways/openai/batch.hpp"

#include "actors/gateways/openai/fields.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <utility>

namespace troupe::openai {

reply<batch_line> parse_batch_line(std::string_view line) {
  TROUPE_ASSIGN(const auto object, parse_object(line));
  fields in(object);
  batch_line out;
  out.custom_id = in.text("custom_id").value_or("");
  if (out.custom_id.empty()) in.blame("custom_id", "must be a string that is not empty");
  if (in.text("method").value_or("POST") != "POST") in.blame("method", "must be POST");
  const auto url = in.text("url").value_or("");
  if (url == "/v1/completions")
    out.endpoint = endpoint::completions;
  else if (url != "/v1/chat/completions")
    in.blame("url", "must be /v1/chat/completions or /v1/completions");
  const auto* body = in.object("body");
  if (body == nullptr) in.blame("body", "is missing");
  if (in.failed()) return in.error();
  out.body = *body;
  out.body.erase("stream");
  out.body.erase("stream_options");
  return out;
}

std::string batch_answer(std::string_view custom_id, std::string_view request_id, int status, std::string_view body) {
  const boost::json::object response{
      {"status_code", status}, {"request_id", request_id}, {"body", boost::json::parse(body)}};
  return boost::json::serialize(boost::json::object{{"id", "batch_" + std::string(request_id)},
                                                    {"custom_id", custom_id},
                                                    {"response", response},
                                                    {"error", nullptr}});
}

} // namespace troupe::openai
