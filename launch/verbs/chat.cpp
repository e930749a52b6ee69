// troupe chat: one question, or a conversation in the terminal. Thinking is dimmed; Ctrl-C ends an answer, not the
// conversation.
#include "launch/verbs/http_client.hpp"
#include "launch/verbs/verbs.hpp"

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::launch {

namespace {

struct chat_flags {
  std::string url = "http://127.0.0.1:8000", api_key, question, system;
  std::optional<double> temperature;
  std::optional<std::int64_t> seed;
  std::optional<int> max_tokens;
  bool no_thinking = false;
};

std::atomic<bool> interrupted{false};

/// Without SA_RESTART, so that a read from the server or the terminal ends too.
void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = true; };
  sigaction(SIGINT, &action, nullptr);
}

/// Writes an answer as it comes; thinking in grey where the output is a terminal.
class answer_printer {
 public:
  explicit answer_printer(bool show_thinking)
      : show_thinking_(show_thinking), colours_(isatty(STDOUT_FILENO) != 0 && std::getenv("NO_COLOR") == nullptr) {}

  /// False when the answer shall end.
  bool on_event(std::string_view event) {
    const auto chunk = boost::json::parse(event);
    if (const auto* failed = chunk.as_object().if_contains("error")) {
      failure_ = failed->at("message").as_string().c_str();
      return false;
    }
    for (const auto& choice : chunk.at("choices").as_array()) {
      const auto& delta = choice.at("delta").as_object();
      if (const auto* text = delta.if_contains("reasoning_content"); text && text->is_string())
        think(text->get_string());
      if (const auto* text = delta.if_contains("content"); text && text->is_string()) say(text->get_string());
    }
    std::fflush(stdout);
    return !interrupted;
  }

  /// What was said, for the rest of the conversation.
  result<std::string> end() {
    if (thinking_) put(colours_ ? "\033[0m" : "\n");
    put(interrupted.exchange(false) ? " [stopped]\n" : "\n");
    std::fflush(stdout);
    if (!failure_.empty()) return error{errc::disconnected, failure_};
    return content_;
  }

 private:
  void think(std::string_view text) {
    if (!show_thinking_ || text.empty()) return;
    if (!std::exchange(thinking_, true)) put(colours_ ? "\033[2m" : "<think>\n");
    put(text);
  }

  void say(std::string_view text) {
    if (text.empty()) return;
    if (std::exchange(thinking_, false)) put(colours_ ? "\033[0m\n\n" : "\n</think>\n\n");
    put(text);
    content_ += text;
  }

  static void put(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

  bool show_thinking_;
  bool colours_;
  bool thinking_ = false;
  std::string content_, failure_;
};

class conversation {
 public:
  conversation(http_client client, const chat_flags& flags) : client_(std::move(client)), flags_(flags) {
    if (!flags.system.empty()) add("system", flags.system);
  }

  result<void> ask(const std::string& question) {
    add("user", question);
    boost::json::object body{{"messages", messages_}, {"stream", true}};
    if (flags_.temperature) body["temperature"] = *flags_.temperature;
    if (flags_.seed) body["seed"] = *flags_.seed;
    if (flags_.max_tokens) body["max_tokens"] = *flags_.max_tokens;
    answer_printer printer(!flags_.no_thinking);
    const auto streamed =
        client_.stream("/v1/chat/completions", body, [&](std::string_view event) { return printer.on_event(event); });
    const auto said = printer.end();
    if (!streamed && streamed.error().code != errc::cancelled) return forget(streamed.error());
    if (!said) return forget(said.error());
    add("assistant", *said);
    return {};
  }

 private:
  void add(std::string_view role, std::string_view content) {
    messages_.push_back(boost::json::object{{"role", role}, {"content", content}});
  }
  /// The question has no answer: the next one starts where this one did.
  error forget(error why) {
    messages_.pop_back();
    return why;
  }

  http_client client_;
  const chat_flags& flags_;
  boost::json::array messages_;
};

result<void> converse(conversation& talk) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  if (terminal) std::puts("Ask something. /exit or Ctrl-D ends, Ctrl-C stops an answer.");
  for (std::string line;;) {
    if (terminal) std::fputs("\n> ", stdout);
    std::fflush(stdout);
    if (!std::getline(std::cin, line) || line == "/exit") return {};
    if (line.empty()) continue;
    const auto answered = talk.ask(line);
    if (answered) continue;
    if (!terminal) return answered;
    std::fprintf(stderr, "%s\n", answered.error().message.c_str());
  }
}

result<void> chat(const chat_flags& flags) {
  TROUPE_ASSIGN(auto client, http_client::open(flags.url, flags.api_key));
  catch_interrupts();
  conversation talk(std::move(client), flags);
  return flags.question.empty() ? converse(talk) : talk.ask(flags.question);
}

} // namespace

void add_chat(CLI::App& app) {
  auto flags = std::make_shared<chat_flags>();
  auto* verb = app.add_subcommand("chat", "ask a running server; a conversation without QUESTION");
  verb->add_option("question", flags->question, "one question; the answer goes to stdout");
  verb->add_option("--url", flags->url, "of the server")->capture_default_str();
  verb->add_option("--api-key", flags->api_key, "where the server asks for one")->envname("TROUPE_API_KEY");
  verb->add_option("--system", flags->system, "system prompt");
  verb->add_option("--temperature", flags->temperature, "0 is greedy; default: the model's");
  verb->add_option("--seed", flags->seed, "same seed, same answer");
  verb->add_option("--max-tokens", flags->max_tokens, "thinking included");
  verb->add_flag("--no-thinking", flags->no_thinking, "show the answer only");
  verb->callback([flags] { finish(chat(*flags)); });
}

} // namespace troupe::launch
