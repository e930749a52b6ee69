// Any bytes are either refused as a tokenizer.json or make a tokenizer that encodes and decodes without losing text.
#include "runtime/core/invariant.hpp"
#include "runtime/model/tokenizer.hpp"

using namespace troupe;
using namespace troupe::model;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto tok = tokenizer::parse({reinterpret_cast<const char*>(data), size}, "tokenizer.json");
  if (!tok) {
    invariant(tok.error().message.starts_with("tokenizer.json: "), "a refusal names the file");
    invariant(tok.error().message.find('\n') == std::string::npos, "a refusal is one line");
    return 0;
  }
  for (const std::string_view text :
       {"", "Hello, world!  12345\r\n\n", "<think>caf\u00e9 \U0001F916\u3000x</think>", "\u0085 a\u0301"}) {
    for (const auto mode : {special_tokens::match, special_tokens::plain_text}) {
      const auto ids = tok->encode(text, mode);
      if (!ids) continue; // a regular expression of the file may give up
      for (const auto id : *ids) invariant(id >= 0 && id < tok->vocab_size(), "encoding gives tokens that exist");
      tok->decode(*ids);
    }
  }
  return 0;
}
