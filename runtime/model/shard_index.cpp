#include "runtime/model/shard_index.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/model/file_error.hpp"
#include "runtime/model/json_document.hpp"
#include "runtime/model/json_field.hpp"

namespace troupe::model {
namespace {

bool is_plain_file_name(std::string_view name) {
  constexpr std::string_view separators{"/\\\0", 3};
  return !name.empty() && name != "." && name != ".." && name.find_first_of(separators) == name.npos;
}

} // namespace

result<shard_index> parse_shard_index(std::string_view text, std::string_view file) {
  TROUPE_ASSIGN(const auto document, parse_json_document(text, file));
  const auto map = json_field(document, file)["weight_map"];
  TROUPE_ASSIGN(const auto entries, map.object());
  if (entries->size() > limits::tensors_max) return map.fail("has too many tensors");
  shard_index shards;
  for (const auto& [tensor, shard] : *entries) {
    const auto* name = shard.if_string();
    if (!name || !is_plain_file_name(*name))
      return file_error(file, std::string_view(tensor), "must name a shard file in the same folder");
    shards[std::string(*name)].emplace_back(tensor);
  }
  if (shards.empty()) return map.fail("names no tensor");
  if (shards.size() > limits::shards_max) return map.fail("names too many files");
  return shards;
}

} // namespace troupe::model
