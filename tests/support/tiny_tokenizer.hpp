// A whole tokenizer of 256 bytes, a few merges and R1's markers, for tests that need tokens but no vocabulary file.
#pragma once

#include "runtime/model/bpe_alphabet.hpp"
#include "runtime/model/tokenizer.hpp"

#include <boost/json.hpp>

#include <string>
#include <utility>
#include <vector>

namespace troupe::test {

/// Byte b is token b, merges follow from 256, added tokens from 263. Tests change a field and parse.
inline boost::json::object tiny_tokenizer_json() {
  boost::json::object vocab;
  for (int byte = 0; byte < 256; ++byte) vocab[model::symbol_of_byte(byte)] = byte;
  boost::json::array merges;
  const std::vector<std::pair<std::string, std::string>> pairs{{"h", "e"},    {"l", "l"}, {"l", "o"}, {"he", "ll"},
                                                               {"hell", "o"}, {"Ġ", "w"}, {"Ã", "©"}};
  for (const auto& [left, right] : pairs) {
    vocab[left + right] = static_cast<int>(256 + merges.size());
    merges.emplace_back(left + " " + right);
  }

  boost::json::array added;
  const auto add = [&](std::string_view content, bool special) {
    added.push_back({{"id", 263 + added.size()},
                     {"content", content},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", special}});
  };
  add("<｜begin▁of▁sentence｜>", true);
  add("<｜end▁of▁sentence｜>", true);
  for (const auto* content :
       {"<think>", "</think>", "<｜User｜>", "<｜Assistant｜>", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",
        "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>",
        "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>", "<｜tool▁sep｜>"})
    add(content, false);

  const boost::json::object byte_level{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}};
  const boost::json::object words{
      {"type", "Split"}, {"pattern", {{"Regex", R"( ?\p{L}+|\s+)"}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"normalizer", nullptr},
          {"pre_tokenizer", {{"type", "Sequence"}, {"pretokenizers", boost::json::array{words, byte_level}}}},
          {"decoder", byte_level},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}},
          {"added_tokens", added}};
}

inline result<model::tokenizer> parse_tokenizer(const boost::json::object& json) {
  return model::tokenizer::parse(boost::json::serialize(json), "tokenizer.json");
}

inline model::tokenizer tiny_tokenizer() { return parse_tokenizer(tiny_tokenizer_json()).value(); }

} // namespace troupe::test
