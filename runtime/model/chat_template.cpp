#include "runtime/model/chat_template.hpp"

#include <algorithm>
#include <utility>

namespace troupe::model {
namespace {

constexpr std::string_view bos = "<｜begin▁of▁sentence｜>";
constexpr std::string_view eos = "<｜end▁of▁sentence｜>";
constexpr std::string_view user = "<｜User｜>";
constexpr std::string_view assistant = "<｜Assistant｜>";
constexpr std::string_view think = "<think>";
constexpr std::string_view think_end = "</think>";
constexpr std::string_view calls_begin = "<｜tool▁calls▁begin｜>";
constexpr std::string_view calls_end = "<｜tool▁calls▁end｜>";
constexpr std::string_view call_begin = "<｜tool▁call▁begin｜>";
constexpr std::string_view call_end = "<｜tool▁call▁end｜>";
constexpr std::string_view outputs_begin = "<｜tool▁outputs▁begin｜>";
constexpr std::string_view outputs_end = "<｜tool▁outputs▁end｜>";
constexpr std::string_view output_begin = "<｜tool▁output▁begin｜>";
constexpr std::string_view output_end = "<｜tool▁output▁end｜>";
constexpr std::string_view tool_separator = "<｜tool▁sep｜>";

/// Part of a prompt: one of our markers, or text that no special token may be found in.
struct segment {
  std::string text;
  bool is_marker;
};

/// One run of a template over a conversation. The members are the variables of the Jinja original, quirks included:
/// R1 and V3 never reset `any_call_` and `any_output_`, so a second round of calls continues the first one's list.
class chat_renderer {
 public:
  explicit chat_renderer(chat_format format) : format_(format) {}

  std::vector<segment> render(std::span<const chat_message> messages, bool add_generation_prompt) {
    marker(bos);
    system_prompt(messages);
    for (const auto& message : messages) {
      if (message.role == "user") user_turn(message.content);
      if (message.role == "assistant") is_0528() ? assistant_turn_0528(message) : assistant_turn(message);
      if (message.role == "tool") tool_turn(message.content);
    }
    if (in_tool_)
      marker(outputs_end);
    else if (add_generation_prompt)
      generation_prompt();
    return std::move(segments_);
  }

 private:
  bool is_0528() const { return format_ == chat_format::r1_0528; }
  void marker(std::string_view name) { segments_.push_back({std::string(name), true}); }

  void text(std::string_view text) {
    if (segments_.back().is_marker) segments_.push_back({"", false});
    segments_.back().text += text;
  }

  /// The answer of an earlier turn, without its reasoning.
  std::string_view answer_of(std::string_view content) const {
    const auto at = format_ == chat_format::v3 ? std::string_view::npos : content.rfind(think_end);
    return at == std::string_view::npos ? content : content.substr(at + think_end.size());
  }

  void system_prompt(std::span<const chat_message> messages) {
    bool first = true;
    for (const auto& message : messages)
      if (message.role == "system") text((std::exchange(first, false) ? "" : "\n\n") + message.content);
  }

  void user_turn(std::string_view content) {
    in_tool_ = false;
    marker(user);
    text(content);
    if (!is_0528()) return;
    marker(assistant);
    after_user_ = true;
  }

  void call(const tool_call& call) {
    marker(call_begin);
    text(call.type);
    marker(tool_separator);
    text(call.name + "\n```json\n" + call.arguments + "\n```");
    marker(call_end);
  }

  void end_of_calls() {
    marker(calls_end);
    marker(eos);
  }

  void assistant_turn(const chat_message& message) {
    if (message.content.empty() && !message.tool_calls.empty()) return calls_turn(message.tool_calls);
    if (std::exchange(in_tool_, false)) {
      marker(outputs_end);
      text(message.content);
    } else {
      marker(assistant);
      text(answer_of(message.content));
    }
    marker(eos);
  }

  // The end of calls is written after each call but the first of the conversation: a lone call stays open.
  void calls_turn(std::span<const tool_call> calls) {
    in_tool_ = false;
    for (const auto& each : calls) {
      if (!std::exchange(any_call_, true)) {
        marker(assistant);
        marker(calls_begin);
        call(each);
      } else {
        text("\n");
        call(each);
        end_of_calls();
      }
    }
  }

  void assistant_turn_0528(const chat_message& message) {
    after_user_ = false;
    if (std::exchange(in_tool_, false)) marker(outputs_end);
    text(answer_of(message.content));
    if (message.tool_calls.empty()) return marker(eos);
    any_output_ = false;
    marker(calls_begin);
    for (const auto& each : message.tool_calls) {
      if (&each != &message.tool_calls.front()) text("\n");
      call(each);
    }
    end_of_calls();
  }

  void tool_turn(std::string_view content) {
    in_tool_ = true;
    after_user_ = false;
    std::exchange(any_output_, true) ? text("\n") : marker(outputs_begin);
    marker(output_begin);
    text(content);
    marker(output_end);
  }

  void generation_prompt() {
    if (after_user_) return; // the user's turn wrote it already
    marker(assistant);
    if (!starts_in_reasoning(format_)) return;
    marker(think);
    text("\n");
  }

  chat_format format_;
  std::vector<segment> segments_;
  bool in_tool_ = false;
  bool any_call_ = false;
  bool any_output_ = false;
  bool after_user_ = false; ///< R1-0528 only
};

} // namespace

bool starts_in_reasoning(chat_format format) { return format == chat_format::r1; }

bool starts_in_reasoning(chat_format format, std::span<const chat_message> messages) {
  const auto last = std::find_if(messages.rbegin(), messages.rend(), // clang 14 cannot compile libstdc++'s views
                                 [](const auto& message) { return message.role != "system"; });
  return starts_in_reasoning(format) && (last == messages.rend() || last->role != "tool");
}

std::string render_chat(chat_format format, std::span<const chat_message> messages, bool add_generation_prompt) {
  std::string prompt;
  for (const auto& part : chat_renderer(format).render(messages, add_generation_prompt)) prompt += part.text;
  return prompt;
}

result<std::vector<token_id>> encode_chat(chat_format format, const tokenizer& tok,
                                          std::span<const chat_message> messages, bool add_generation_prompt) {
  std::vector<token_id> prompt;
  for (const auto& part : chat_renderer(format).render(messages, add_generation_prompt)) {
    if (part.is_marker) {
      const auto id = tok.find(part.text);
      if (id < 0) return error{errc::bad_input, "the tokenizer has no token " + part.text};
      prompt.push_back(id);
    } else {
      TROUPE_ASSIGN(const auto ids, tok.encode(part.text, special_tokens::plain_text));
      prompt.insert(prompt.end(), ids.begin(), ids.end());
    }
  }
  return prompt;
}

} // namespace troupe::model
