#include "runtime/model/tokenizer_json_steps.hpp"

#include <boost/json/array.hpp>

#include <utility>

namespace troupe::model {
namespace {

/// GPT-2's expression, which ByteLevel applies unless `use_regex` is false.
constexpr std::string_view gpt2_regex = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

error not_supported(const json_field& stage, std::string_view type) {
  return stage["type"].fail("\"" + std::string(type) + "\" is not supported", errc::unsupported);
}

/// Compiles a pattern, or says at which field it fails.
result<split_step> make_split(const json_field& field, result<pre_tokenizer_pattern> pattern, split_behavior behavior,
                              bool invert = false) {
  if (!pattern) return field.fail(pattern.error().message, pattern.error().code);
  return split_step{std::move(pattern).value(), behavior, invert};
}

result<split_behavior> read_behavior(const json_field& field) {
  TROUPE_ASSIGN(const auto name, field.string());
  if (name == "Isolated") return split_behavior::isolated;
  if (name == "Removed") return split_behavior::removed;
  if (name == "MergedWithPrevious") return split_behavior::merged_with_previous;
  if (name == "MergedWithNext") return split_behavior::merged_with_next;
  if (name == "Contiguous") return split_behavior::contiguous;
  return field.fail("\"" + std::string(name) + "\" is not a behavior");
}

result<split_step> read_split(const json_field& stage) {
  TROUPE_ASSIGN(const auto behavior, read_behavior(stage["behavior"]));
  TROUPE_ASSIGN(const auto invert, stage["invert"].boolean_or(false));
  const auto regex = stage["pattern"]["Regex"];
  const auto literal = stage["pattern"]["String"];
  if (regex.is_null() == literal.is_null()) return stage["pattern"].fail("must be a Regex or a String");
  const auto& field = literal.is_null() ? regex : literal;
  TROUPE_ASSIGN(const auto text, field.string());
  return make_split(field,
                    literal.is_null() ? pre_tokenizer_pattern::compile(text) : pre_tokenizer_pattern::literal(text),
                    behavior, invert);
}

result<split_step> read_digits(const json_field& stage) {
  TROUPE_ASSIGN(const auto individual, stage["individual_digits"].boolean_or(false));
  return make_split(stage, pre_tokenizer_pattern::compile(R"(\p{N})"),
                    individual ? split_behavior::isolated : split_behavior::contiguous);
}

/// Reads stages in order; the list is complete once ByteLevel was met.
class step_reader {
 public:
  std::vector<pre_tokenizer_step> steps;
  bool complete = false;

  result<void> read(const json_field& stage) {
    TROUPE_ASSIGN(const auto type, stage["type"].string());
    if (complete) return stage.fail("comes after ByteLevel, which must be the last", errc::unsupported);
    if (type == "Sequence") return read_sequence(stage["pretokenizers"]);
    if (type == "Split") return add(read_split(stage));
    if (type == "Digits") return add(read_digits(stage));
    if (type == "ByteLevel") return read_byte_level(stage);
    return not_supported(stage, type);
  }

 private:
  result<void> add(result<split_step> step) {
    if (!step) return step.error();
    steps.emplace_back(std::move(step).value());
    return {};
  }

  result<void> read_sequence(const json_field& stages) {
    TROUPE_ASSIGN(const auto array, stages.array());
    for (std::size_t i = 0; i < array->size(); ++i) TROUPE_TRY(read(stages.at(i)));
    return {};
  }

  result<void> read_byte_level(const json_field& stage) {
    complete = true;
    TROUPE_ASSIGN(const auto prefix_space, stage["add_prefix_space"].boolean_or(true));
    TROUPE_ASSIGN(const auto use_regex, stage["use_regex"].boolean_or(true));
    if (prefix_space) steps.emplace_back(prefix_space_step{});
    if (!use_regex) return {};
    return add(make_split(stage, pre_tokenizer_pattern::compile(gpt2_regex), split_behavior::isolated));
  }
};

} // namespace

result<void> check_normalizer(const json_field& normalizer) {
  if (normalizer.is_null()) return {};
  TROUPE_ASSIGN(const auto type, normalizer["type"].string());
  if (type != "Sequence") return not_supported(normalizer, type);
  const auto parts = normalizer["normalizers"];
  TROUPE_ASSIGN(const auto array, parts.array());
  for (std::size_t i = 0; i < array->size(); ++i) TROUPE_TRY(check_normalizer(parts.at(i)));
  return {};
}

result<void> check_decoder(const json_field& decoder) {
  TROUPE_ASSIGN(const auto type, decoder["type"].string());
  if (type == "ByteLevel") return {};
  if (type != "Sequence") return not_supported(decoder, type);
  const auto parts = decoder["decoders"];
  TROUPE_ASSIGN(const auto array, parts.array());
  if (array->size() != 1) return parts.fail("must be ByteLevel alone", errc::unsupported);
  return check_decoder(parts.at(0));
}

result<std::vector<pre_tokenizer_step>> read_pre_tokenizer(const json_field& pre_tokenizer) {
  step_reader reader;
  TROUPE_TRY(reader.read(pre_tokenizer));
  if (!reader.complete) return pre_tokenizer.fail("must end with ByteLevel", errc::unsupported);
  return std::move(reader.steps);
}

} // namespace troupe::model
