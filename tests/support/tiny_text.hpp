// The text side of a gateway over the tiny tokenizer: one byte is one token, R1's markers follow from 263.
#pragma once

#include "actors/gateways/text_side.hpp"
#include "tests/support/tiny_tokenizer.hpp"

#include <boost/json/parse.hpp>

#include <string_view>
#include <vector>

namespace troupe::test {

inline constexpr token_id tiny_bos = 263, tiny_eos = 264, tiny_think_end = 266;

inline text_side tiny_text() {
  text_side out{.tokenizer = tiny_tokenizer()};
  out.model_name = "tiny";
  out.max_model_len = 128;
  out.vocab_size = 320;
  out.bos_token = tiny_bos;
  return out;
}

/// Byte by byte, so that a test can count tokens.
inline std::vector<token_id> bytes_as_tokens(std::string_view text) {
  std::vector<token_id> out;
  for (const char c : text) out.push_back(static_cast<unsigned char>(c));
  return out;
}

inline boost::json::object json_object(std::string_view text) { return boost::json::parse(text).as_object(); }

} // namespace troupe::test
