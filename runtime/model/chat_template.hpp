// The chat templates of R1, R1-0528 and V3, written out rather than interpreted: a checkpoint's Jinja is code, and code
// from a checkpoint is not run (ARCHITECTURE.md, contract 7). model-spec.md section 12.
#pragma once

#include "runtime/core/ids.hpp"
#include "runtime/core/result.hpp"
#include "runtime/model/tokenizer.hpp"

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::model {

enum class chat_format { r1, r1_0528, v3 };

/// "r1", "r1-0528", "v3"; errors list the known names.
result<chat_format> chat_format_named(std::string_view name);
/// Recognises the template string of `dir/tokenizer_config.json`.
result<chat_format> detect_chat_format(const std::filesystem::path& dir);

struct tool_call {
  std::string type = "function";
  std::string name;
  std::string arguments; ///< JSON text
};

struct chat_message {
  std::string role; ///< "system", "user", "assistant", "tool"
  std::string content;
  std::vector<tool_call> tool_calls; ///< assistant only
};

/// The prompt of a conversation as text, ready for a reader or a golden test.
std::string render_chat(chat_format format, std::span<const chat_message> messages, bool add_generation_prompt = true);
/// The same as tokens. Markers are matched as special tokens, message contents never are.
result<std::vector<token_id>> encode_chat(chat_format format, const tokenizer& tok,
                                          std::span<const chat_message> messages, bool add_generation_prompt = true);
/// True when the format's generation prompt opens the reasoning part (it ends with `<think>\n`).
bool starts_in_reasoning(chat_format format);
/// The same for the prompt of `messages`: after a tool's output R1's template adds no generation prompt.
bool starts_in_reasoning(chat_format format, std::span<const chat_message> messages);

} // namespace troupe::model
