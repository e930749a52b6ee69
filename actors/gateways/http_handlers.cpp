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

http_reply not_now(std::string why) { return to_reply(openai::to_api_error({errc::disconnected, std::move(why)})); }

/// One word for where the cluster is: the worst of its roles.
std::string_view phase_of(const cluster_status& cluster, bool draining) {
  const auto any = [&](std::string_view state) {
    return std::any_of(cluster.roles.begin(), cluster.roles.end(), [&](const auto& r) { return r.state == state; });
  };
  if (draining || any("draining")) return "draining";
  if (any("lost")) return "recovering";
  return cluster.ready ? "ok" : "starting";
}

/// Liveness: says how far every role is, and 503 only when a restart would help.
http_reply health(const handler_context& context) {
  const auto cluster = context.completions.generation().status();
  if (auto why = reason_to_restart(cluster, context.options.replaces_roles); !why.empty())
    return not_now(std::move(why));
  json::array roles;
  for (const auto& r : cluster.roles)
    roles.push_back(
        json::object{{"name", r.name}, {"state", r.state}, {"steps", r.steps}, {"step_age_ms", r.step_age_ms}});
  return json_reply(json::object{{"status", phase_of(cluster, context.draining)}, {"roles", std::move(roles)}});
}

/// Readiness: whether a request sent now would be served.
http_reply ready(const handler_context& context) {
  const auto cluster = context.completions.generation().status();
  if (context.draining) return not_now("this server is draining");
  if (cluster.ready) return json_reply(json::object{{"status", "ok"}});
  std::string why = "not every role is ready";
  for (const auto& r : cluster.roles)
    if (r.state != "ready") why += ", " + r.name + " is " + r.state;
  return not_now(std::move(why));
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

std::string reason_to_restart(const cluster_status& cluster, bool replaces_roles) {
  if (cluster.roles.empty()) return "the supervisor does not answer";
  for (const auto& r : cluster.roles) {
    const bool serves = r.state == "ready" || r.state == "draining";
    if (serves && r.step_age_ms >= std::chrono::milliseconds(limits::health_patience).count())
      return r.name + " has work and has not moved for " + std::to_string(r.step_age_ms / 1000) + " s";
    if (r.state == "failed" || (r.state == "lost" && !replaces_roles)) return r.name + " is gone";
  }
  return {};
}

http_reply answer_simple(route where, std::string_view target, std::string_view body, const handler_context& context) {
  auto& completions = context.completions;
  const auto& text = completions.text();
  switch (where) {
  case route::models: return json_reply(openai::models_list(text.model_name, context.started_at, text.max_model_len));
  case route::one_model: return one_model(target, context);
  case route::tokenize: return to_reply(tokenize(body, text));
  case route::detokenize: return to_reply(detokenize(body, text));
  case route::health: return health(context);
  case route::ready: return ready(context);
  case route::ping: return json_reply(json::object{{"status", "ok"}});
  case route::version: return json_reply(json::object{{"version", context.options.version}});
  case route::metrics:
    return {200, completions.metrics().text(completions.generation().status()), "text/plain; version=0.0.4"};
  case route::status: return status(context);
  case route::load: return json_reply(json::object{{"server_load", context.answers}});
  case route::server_info: return {.body = context.options.server_info};
  case route::chat_completions:
  case route::completions: break;
  }
  invariant(false, "completions have no simple answer");
  return {};
}

} // namespace troupe
