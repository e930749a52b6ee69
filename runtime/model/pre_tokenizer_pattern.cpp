#include "runtime/model/pre_tokenizer_pattern.hpp"

#include "runtime/core/limits.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

namespace troupe::model {
namespace {

std::string pcre2_message(int code) {
  char text[256];
  pcre2_get_error_message(code, reinterpret_cast<PCRE2_UCHAR*>(text), sizeof text);
  return text;
}

error refused(std::string_view what) {
  return {errc::unsupported, "regular expression uses " + std::string(what) + ", which is not supported"};
}

/// The PCRE2 spelling of Oniguruma's `\c`, or nothing where there is none.
std::optional<std::string> translate_escape(char c, bool in_class) {
  const std::string word = "\\p{L}\\p{M}\\p{Nd}\\p{Pc}"; // PCRE2's \w has no marks, and other numbers instead
  switch (c) {
  case 's': return "\\p{White_Space}"; // PCRE2's \s also has U+180E
  case 'S': return "\\P{White_Space}";
  case 'w': return in_class ? word : "[" + word + "]";
  case 'W': return in_class ? std::nullopt : std::optional("[^" + word + "]");
  case 'b': return in_class ? std::optional<std::string>("\\b") : std::nullopt;
  case 'B': // a word boundary follows \w
  case 'h':
  case 'H':                      // hexadecimal digits there, horizontal space here
  case 'Q': return std::nullopt; // quoting here only
  default: return std::string{'\\', c};
  }
}

/// What opens a class: '[', '^', and a ']' that is an ordinary character because it comes first.
std::size_t class_head_size(std::string_view regex) {
  std::size_t size = 1;
  if (regex.substr(size).starts_with('^')) ++size;
  if (regex.substr(size).starts_with(']')) ++size;
  return size;
}

result<std::string> translate(std::string_view regex) {
  std::string out;
  bool in_class = false;
  while (!regex.empty()) {
    if (regex[0] == '\\' && regex.size() > 1) {
      const auto escape = translate_escape(regex[1], in_class);
      if (!escape) return refused(regex.substr(0, 2));
      out += *escape;
      regex.remove_prefix(2);
      continue;
    }
    std::size_t size = 1;
    if (!in_class && regex[0] == '[') {
      in_class = true;
      size = class_head_size(regex);
    } else if (in_class && regex.starts_with("[:")) { // [:alpha:]
      size = std::min(regex.find(":]"), regex.size() - 2) + 2;
    } else if (in_class && regex[0] == '[') {
      return refused("a class inside a class");
    } else if (in_class && regex.starts_with("&&")) {
      return refused("&& inside a class");
    } else if (regex[0] == ']') {
      in_class = false;
    }
    out += regex.substr(0, size);
    regex.remove_prefix(size);
  }
  return out;
}

struct match_data_deleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};

struct match_context_deleter {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

pcre2_match_context* limited_context() {
  static const std::unique_ptr<pcre2_match_context, match_context_deleter> context = [] {
    std::unique_ptr<pcre2_match_context, match_context_deleter> made(pcre2_match_context_create(nullptr));
    invariant(made != nullptr, "out of memory");
    pcre2_set_match_limit(made.get(), limits::regex_match_steps_max);
    pcre2_set_heap_limit(made.get(), limits::regex_heap_kib_max);
    return made;
  }();
  return context.get();
}

} // namespace

void pre_tokenizer_pattern::code_deleter::operator()(void* code) const {
  pcre2_code_free(static_cast<pcre2_code*>(code));
}

result<pre_tokenizer_pattern> pre_tokenizer_pattern::compile(std::string_view regex) {
  TROUPE_ASSIGN(const std::string pattern, translate(regex));
  return compile_as(pattern, PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C); // Ruby's ^ and $ know lines
}

result<pre_tokenizer_pattern> pre_tokenizer_pattern::literal(std::string_view text) {
  return compile_as(text, PCRE2_LITERAL);
}

result<pre_tokenizer_pattern> pre_tokenizer_pattern::compile_as(std::string_view pattern, unsigned options) {
  if (pattern.empty()) return error{errc::bad_input, "pattern is empty"};
  if (pattern.size() > limits::regex_bytes_max) return error{errc::bad_input, "pattern is too long"};
  int code = 0;
  PCRE2_SIZE offset = 0;
  pre_tokenizer_pattern compiled(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                               options | PCRE2_UTF, &code, &offset, nullptr));
  if (!compiled.code_) return error{errc::bad_input, "regular expression: " + pcre2_message(code)};
  // Where PCRE2 has no JIT for the machine the interpreter gives the same matches.
  pcre2_jit_compile(static_cast<pcre2_code*>(compiled.code_.get()), PCRE2_JIT_COMPLETE);
  return compiled;
}

result<std::optional<text_range>> pre_tokenizer_pattern::find(std::string_view text, std::size_t from) const {
  thread_local const std::unique_ptr<pcre2_match_data, match_data_deleter> data(pcre2_match_data_create(1, nullptr));
  invariant(data != nullptr, "out of memory");
  const int count = pcre2_match(static_cast<const pcre2_code*>(code_.get()), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                text.size(), from, PCRE2_NO_UTF_CHECK, data.get(), limited_context());
  if (count == PCRE2_ERROR_NOMATCH) return std::optional<text_range>();
  if (count < 0) return error{errc::bad_input, "regular expression gave up: " + pcre2_message(count)};
  const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
  return std::optional(text_range{range[0], range[1]});
}

} // namespace troupe::model
