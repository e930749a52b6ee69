#include "runtime/model/tokenizer_json.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/model/file_error.hpp"
#include "runtime/model/json_document.hpp"
#include "runtime/model/tokenizer_json_steps.hpp"

namespace troupe::model {
namespace {

namespace json = boost::json;

std::string quoted(std::string_view token) { return "\"" + std::string(token) + "\""; }

bool is_token_id(const json::value& value) {
  const auto* id = value.if_int64();
  return id && *id >= 0 && *id < limits::token_ids_max;
}

/// Fills a tokenizer_json from the parts of a document, each checked against those before it.
class reader {
 public:
  result<void> read_model(const json_field& model);
  result<void> read_added_tokens(const json_field& added_tokens);

  tokenizer_json out;

 private:
  result<void> check_options(const json_field& model);
  result<void> read_vocabulary(const json_field& vocab);
  result<void> read_merges(const json_field& merges);
  result<added_token> read_added_token(const json_field& field);

  token_id find(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? -1 : found->second;
  }

  boost::unordered_flat_map<std::string_view, token_id> ids_; // views into the document
};

result<void> reader::read_model(const json_field& model) {
  TROUPE_TRY(check_options(model));
  TROUPE_TRY(read_vocabulary(model["vocab"]));
  return read_merges(model["merges"]);
}

// Options that change ids are refused by name; those about unknown tokens have no effect when every byte is known.
result<void> reader::check_options(const json_field& model) {
  TROUPE_ASSIGN(const auto type, model["type"].string());
  if (type != "BPE") return model["type"].fail(quoted(type) + " is not supported", errc::unsupported);
  if (!model["dropout"].is_null()) return model["dropout"].fail("must be null", errc::unsupported);
  for (const auto* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    TROUPE_ASSIGN(const auto affix, model[name].string_or(""));
    if (!affix.empty()) return model[name].fail("must be empty", errc::unsupported);
  }
  TROUPE_ASSIGN(out.ignore_merges, model["ignore_merges"].boolean_or(false));
  return {};
}

result<void> reader::read_vocabulary(const json_field& vocab) {
  TROUPE_ASSIGN(const auto entries, vocab.object());
  ids_.reserve(entries->size());
  for (const auto& [key, value] : *entries) {
    const std::string_view token(key.data(), key.size());
    if (token.empty()) return vocab.fail("a token is empty");
    if (!is_token_id(value))
      return vocab.fail("the id of " + quoted(token) + " is not an integer from 0 to " +
                        std::to_string(limits::token_ids_max - 1));
    const auto id = static_cast<token_id>(value.get_int64());
    if (out.vocabulary.size() <= static_cast<std::size_t>(id)) out.vocabulary.resize(id + 1);
    auto& slot = out.vocabulary[id];
    if (!slot.empty()) return vocab.fail(quoted(slot) + " and " + quoted(token) + " have the same id");
    slot = token;
    ids_.emplace(token, id);
  }
  return {};
}

/// The two halves of a merge: "left right" in older files, ["left", "right"] in newer ones.
result<std::pair<std::string_view, std::string_view>> halves(const json_field& merge) {
  if (const auto pair = merge.array(); pair && (*pair)->size() == 2) {
    TROUPE_ASSIGN(const auto left, merge.at(0).string());
    TROUPE_ASSIGN(const auto right, merge.at(1).string());
    return std::pair(left, right);
  }
  const auto text = merge.string();
  const auto space = text ? text->find(' ') : std::string_view::npos;
  if (space == std::string_view::npos || text->find(' ', space + 1) != std::string_view::npos)
    return merge.fail("must be \"left right\" or [\"left\", \"right\"]");
  return std::pair(text->substr(0, space), text->substr(space + 1));
}

result<void> reader::read_merges(const json_field& merges) {
  TROUPE_ASSIGN(const auto array, merges.array());
  out.merges.reserve(array->size());
  for (std::size_t i = 0; i < array->size(); ++i) {
    const auto field = merges.at(i);
    TROUPE_ASSIGN(const auto pair, halves(field));
    const auto whole = std::string(pair.first) + std::string(pair.second);
    const bpe_merge merge{find(pair.first), find(pair.second), find(whole)};
    for (const auto& [id, token] : {std::pair(merge.left, pair.first), std::pair(merge.right, pair.second),
                                    std::pair(merge.merged, std::string_view(whole))})
      if (id < 0) return field.fail(quoted(token) + " is not in the vocabulary");
    out.merges.push_back(merge);
  }
  return {};
}

result<added_token> reader::read_added_token(const json_field& field) {
  for (const auto* flag : {"single_word", "lstrip", "rstrip"}) {
    TROUPE_ASSIGN(const auto set, field[flag].boolean_or(false));
    if (set) return field[flag].fail("true is not supported", errc::unsupported);
  }
  TROUPE_ASSIGN(const auto object, field.object());
  const auto* id = object->if_contains("id");
  if (!id || !is_token_id(*id)) return field["id"].fail("must be an integer below the limit of token ids");
  TROUPE_ASSIGN(const auto content, field["content"].string());
  if (content.empty() || content.size() > limits::added_token_bytes_max)
    return field["content"].fail("must have 1 to " + std::to_string(limits::added_token_bytes_max) + " bytes");
  TROUPE_ASSIGN(const auto special, field["special"].boolean_or(false));
  TROUPE_ASSIGN(const auto normalized, field["normalized"].boolean_or(!special));
  return added_token{std::string(content), static_cast<token_id>(id->get_int64()), special, normalized};
}

result<void> reader::read_added_tokens(const json_field& added_tokens) {
  if (added_tokens.is_null()) return {};
  TROUPE_ASSIGN(const auto array, added_tokens.array());
  boost::unordered_flat_map<token_id, std::size_t> place_of_id;
  boost::unordered_flat_map<std::string, std::size_t> place_of_content;
  for (std::size_t i = 0; i < array->size(); ++i) {
    const auto field = added_tokens.at(i);
    TROUPE_ASSIGN(auto token, read_added_token(field));
    if (const auto id = find(token.content); id >= 0 && id != token.id)
      return field["id"].fail("the vocabulary gives " + quoted(token.content) + " the id " + std::to_string(id));
    if (static_cast<std::size_t>(token.id) < out.vocabulary.size())
      if (const auto& taken = out.vocabulary[token.id]; !taken.empty() && taken != token.content)
        return field["id"].fail("belongs to " + quoted(taken) + " in the vocabulary");
    if (!place_of_id.emplace(token.id, i).second) return field["id"].fail("is used twice");
    if (!place_of_content.emplace(token.content, i).second) return field["content"].fail("is listed twice");
    out.added.push_back(std::move(token));
  }
  return {};
}

} // namespace

result<tokenizer_json> parse_tokenizer_json(std::string_view text, std::string_view file) {
  if (text.size() > limits::tokenizer_file_bytes_max) return file_error(file, "", "file is too large");
  TROUPE_ASSIGN(const auto document, parse_json_document(text, file));
  const json_field root(document, file);
  TROUPE_TRY(root.object());

  reader reader;
  TROUPE_TRY(check_normalizer(root["normalizer"]));
  TROUPE_TRY(check_decoder(root["decoder"]));
  TROUPE_ASSIGN(reader.out.steps, read_pre_tokenizer(root["pre_tokenizer"]));
  TROUPE_TRY(reader.read_model(root["model"]));
  TROUPE_TRY(reader.read_added_tokens(root["added_tokens"]));
  return std::move(reader.out);
}

} // namespace troupe::model
