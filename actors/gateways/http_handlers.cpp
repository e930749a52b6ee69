#include "actors/gateways/http_handlers.hpp"

#include "actors/gateways/openai/fields.hpp"
#include "actors/gateways/openai/plan.hpp"
#include "actors/gateways/openai/response.hpp"
#include "runtime/core/limits.hpp"

#include <boost/json/serialize.hpp>

#include <algorithm>
#include <chrono>
#include <utility>

namespace troupe {

namespace {

namespace json = boost::json;

http_reply json_reply(const json::value& body, int status = 200) { return {status, json::serialize(body)}; }

http_reply probe(bool ok, std::string_view why) {
  if (ok) return json_reply(json::object{{"status", "ok"}});
  return to_reply(openai::to_api_error({errc::disconnected, std::string(why)}));
}

http_reply one_model(std::string_view target, const handler_context& context) {
  const auto list = openai::models_list(context.completions.text().model_name, context.started_at,
                                        context.completions.text().max_model_len);
  const auto& model = list.at("data").at(0);
  const boost::json::string_view name = target.substr(std::string_view("/v1/models/").size());
  if (model.at("id").get_string() == name) return json_reply(model);
  return to_reply({.status = 404, .message = "the model does not exist", .param = "model", .code = "model_not_found"});
}

http_reply status(const handler_context& context) {
  const auto cluster = context.completions.generation().status();
  json::array roles;
  for (const auto& r : cluster.roles)
    roles.push_back(json::object{{"role", r.role},
                                 {"name", r.name},
                                 {"device", r.device},
                                 {"state", r.state},
                                 {"pid", r.pid},
                                 {"steps", r.steps},
                                 {"step_age_ms", r.step_age_ms},
                                 {"running", r.running},
                                 {"waiting", r.waiting},
                                 {"kv_usage", r.kv_usage},
                                 {"drafts_proposed", r.drafts_proposed},
                                 {"drafts_accepted", r.drafts_accepted},
                                 {"restarts", r.restarts},
                                 {"preemptions", r.preemptions},
                                 {"pages", r.pages}});
  return json_reply(json::object{{"model", context.completions.text().model_name},
                                 {"version", context.options.version},
                                 {"ready", cluster.ready && !context.draining},
                                 {"draining", context.draining},
                                 {"jobs", context.options.job_address},
                                 {"roles", std::move(roles)}});
}

/// {"prompt"} or {"messages"} as in vLLM.
openai::reply<json::value> tokenize(std::string_view body, const text_side& text) {
  TROUPE_ASSIGN(const auto object, openai::parse_object(body));
  const auto where = object.contains("messages") ? openai::endpoint::chat_completions : openai::endpoint::completions;
  TROUPE_ASSIGN(const auto request, openai::parse_request(where, object));
  TROUPE_ASSIGN(const auto prompts, openai::encode_prompts(request, text));
  json::array tokens(prompts.front().begin(), prompts.front().end());
  return json::value{{"count", tokens.size()}, {"max_model_len", text.max_model_len}, {"tokens", std::move(tokens)}};
}

openai::reply<json::value> detokenize(std::string_view body, const text_side& text) {
  TROUPE_ASSIGN(const auto object, openai::parse_object(body));
  const auto* list = object.if_contains("tokens");
  if (list == nullptr) return openai::bad_request("tokens", "tokens: is missing");
  TROUPE_ASSIGN(const auto tokens, openai::parse_tokens(*list, "tokens"));
  return json::value{{"prompt", text.tokenizer.decode(tokens, /*skip_special=*/false)}};
}

http_reply to_reply(const openai::reply<json::value>& answer) {
  return answer ? json_reply(*answer) : to_reply(answer.error());
}

} // namespace

http_reply to_reply(const openai::api_error& e) {
  return {e.status, json::serialize(openai::to_json(e)), "application/json", e.retry_after_s};
}

bool is_healthy(const cluster_status& cluster) {
  const auto moves = [](const role_status& r) {
    return (r.state == "ready" || r.state == "draining") &&
           r.step_age_ms < std::chrono::milliseconds(limits::health_patience).count();
  };
  return !cluster.roles.empty() && std::all_of(cluster.roles.begin(), cluster.roles.end(), moves);
}

http_reply answer_simple(route where, std::string_view target, std::string_view body, const handler_context& context) {
  auto& completions = context.completions;
  const auto& text = completions.text();
  switch (where) {
  case route::models: return json_reply(openai::models_list(text.model_name, context.started_at, text.max_model_len));
  case route::one_model: return one_model(target, context);
  case route::tokenize: return to_reply(tokenize(body, text));
  case route::detokenize: return to_reply(detokenize(body, text));
  case route::health: return probe(is_healthy(completions.generation().status()), "the cluster does not move");
  case route::ready:
    return probe(!context.draining && completions.generation().status().ready, "not every role is ready");
  case route::ping: return probe(true, "");
  case route::version: return json_reply(json::object{{"version", context.options.version}});
  case route::metrics:
    return {200, completions.metrics().text(completions.generation().status()), "text/plain; version=0.0.4"};
  case route::status: return status(context);
  case route::chat_completions:
  case route::completions: break;
  }
  invariant(false, "completions have no simple answer");
  return {};
}

} // namespace troupe
