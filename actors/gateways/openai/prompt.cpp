// The parts of a request that carry the conversation.
#include "actors/gateways/openai/fields.hpp"
#include "actors/gateways/openai/request.hpp"
#include "runtime/core/limits.hpp"

#include <algorithm>
#include <limits>
#include <utility>

namespace troupe::openai {

namespace {

/// A string, null, or the list of parts that newer clients send; every part must be text.
void read_content(fields& in, model::chat_message& message) {
  const auto* content = in.find("content");
  if (content == nullptr) return;
  if (const auto* text = content->if_string()) {
    message.content.assign(text->begin(), text->end());
    return;
  }
  const auto* parts = content->if_array();
  if (parts == nullptr) return in.blame("content", "must be a string or a list of text parts");
  for (const auto& part : *parts) {
    const auto* object = part.if_object();
    const auto* type = object ? object->if_contains("type") : nullptr;
    const auto* text = object ? object->if_contains("text") : nullptr;
    if (type == nullptr || *type != "text" || text == nullptr || !text->is_string())
      return in.blame("content", "only parts of type \"text\" are supported");
    message.content.append(text->get_string().begin(), text->get_string().end());
  }
}

void read_tool_calls(fields& in, model::chat_message& message) {
  const auto* calls = in.array("tool_calls");
  if (calls == nullptr) return;
  for (const auto& call : *calls) {
    const auto* object = call.if_object();
    const auto* function = object ? object->if_contains("function") : nullptr;
    if (function == nullptr || !function->is_object())
      return in.blame("tool_calls", "every call must have a \"function\" object");
    fields f(function->get_object());
    model::tool_call out;
    out.name = f.text("name").value_or("");
    out.arguments = f.text("arguments").value_or("");
    if (f.failed() || out.name.empty()) return in.blame("tool_calls", "a function must have a name and arguments");
    message.tool_calls.push_back(std::move(out));
  }
}

reply<model::chat_message> parse_message(const boost::json::value& value, const std::string& name) {
  if (!value.is_object()) return bad_request(name, name + ": must be an object");
  fields in(value.get_object(), name + ".");
  model::chat_message out;
  out.role = in.text("role").value_or("");
  if (out.role == "developer") out.role = "system"; // OpenAI's newer name for the same thing
  if (out.role == "function") out.role = "tool";
  const bool known = out.role == "system" || out.role == "user" || out.role == "assistant" || out.role == "tool";
  if (!known) in.blame("role", "must be system, developer, user, assistant or tool");
  read_content(in, out);
  if (out.role == "assistant") read_tool_calls(in, out);
  if (in.find("content") == nullptr && out.tool_calls.empty()) in.blame("content", "is missing");
  if (in.failed()) return in.error();
  return out;
}

bool all_integers(const boost::json::array& list) {
  return std::all_of(list.begin(), list.end(), [](const auto& x) { return x.is_int64(); });
}

} // namespace

reply<std::vector<model::chat_message>> parse_messages(const boost::json::value& messages) {
  const auto* list = messages.if_array();
  if (list == nullptr || list->empty())
    return bad_request("messages", "messages: must be a list of one message or more");
  std::vector<model::chat_message> out;
  for (std::size_t i = 0; i < list->size(); ++i) {
    TROUPE_ASSIGN(auto message, parse_message((*list)[i], "messages[" + std::to_string(i) + "]"));
    out.push_back(std::move(message));
  }
  return out;
}

reply<std::vector<token_id>> parse_tokens(const boost::json::value& tokens, const std::string& name) {
  const auto* list = tokens.if_array();
  if (list == nullptr || !all_integers(*list)) return bad_request(name, name + ": must be a list of token ids");
  std::vector<token_id> out;
  out.reserve(list->size());
  for (const auto& id : *list) {
    if (id.get_int64() < 0 || id.get_int64() >= limits::token_ids_max)
      return bad_request(name, name + ": token ids must be in [0, " + std::to_string(limits::token_ids_max) + ")");
    out.push_back(static_cast<token_id>(id.get_int64()));
  }
  return out;
}

reply<std::vector<text_or_tokens>> parse_prompts(const boost::json::value& prompt) {
  std::vector<text_or_tokens> out;
  const auto add = [&](const boost::json::value& one) -> reply<void> {
    if (const auto* text = one.if_string()) {
      out.emplace_back(std::string(text->begin(), text->end()));
      return {};
    }
    TROUPE_ASSIGN(auto tokens, parse_tokens(one, "prompt"));
    out.emplace_back(std::move(tokens));
    return {};
  };

  const auto* list = prompt.if_array();
  if (list == nullptr || (!list->empty() && all_integers(*list))) {
    TROUPE_TRY(add(prompt));
    return out;
  }
  if (list->empty() || list->size() > limits::prompts_max)
    return bad_request("prompt", "prompt: must be 1 to " + std::to_string(limits::prompts_max) + " prompts");
  for (const auto& one : *list) TROUPE_TRY(add(one));
  return out;
}

} // namespace troupe::openai
