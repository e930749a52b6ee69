#include "runtime/model/checkpoint.hpp"

#include "runtime/model/json_fields.hpp"
#include "runtime/model/mapped_file.hpp"
#include "runtime/model/safetensors.hpp"
#include "runtime/model/text_file.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace troupe::model {
namespace {

struct stored_tensor {
  tensor_view view;
  std::string dtype;
  bool computable = false; ///< a kernel knows the dtype
  std::string file;
};

// Shard files in the order of their names, and the tensors each must hold. One file without an index holds them all.
using shard_names = std::map<std::string, std::set<std::string>>;

result<shard_names> read_index(const std::filesystem::path& path) {
  TROUPE_ASSIGN(const auto text, read_text_file(path));
  const auto file = path.string();
  TROUPE_ASSIGN(const auto object, parse_json_object(text, file));
  json_fields fields(object, file);
  const auto* map = fields.object("weight_map");
  if (!map) fields.fail(errc::bad_input, "weight_map", "is missing");
  if (fields.failure()) return *fields.failure();
  shard_names shards;
  for (const auto& [tensor, shard] : *map) {
    const std::string name = shard.is_string() ? std::string(shard.get_string()) : "";
    if (name.empty() || name.find('/') != name.npos || name == "." || name == "..")
      return error{errc::bad_input, file + ": weight_map." + std::string(tensor.data(), tensor.size()) +
                                        ": must name a file in the same folder"};
    shards[name].insert(std::string(tensor.data(), tensor.size()));
  }
  return shards;
}

} // namespace

struct checkpoint::state {
  std::string dir;
  std::vector<mapped_file> files;
  std::unordered_map<std::string, stored_tensor> tensors;

  result<void> add_file(const std::filesystem::path& path, const std::set<std::string>* expected) {
    TROUPE_ASSIGN(auto mapped, mapped_file::open(path));
    TROUPE_ASSIGN(auto entries, parse_safetensors(mapped.bytes(), path.string()));
    std::size_t found = 0;
    for (auto& entry : entries) {
      if (expected) found += expected->count(entry.name);
      stored_tensor stored{{entry.type.value_or(kernels::tensor_type{}), std::move(entry.shape), entry.bytes},
                           entry.dtype,
                           entry.type.has_value(),
                           path.string()};
      const auto [at, fresh] = tensors.try_emplace(entry.name, std::move(stored));
      if (!fresh) return error{errc::bad_input, path.string() + ": " + entry.name + ": is also in " + at->second.file};
    }
    if (expected && found != expected->size()) return missing_from(path, *expected);
    files.push_back(std::move(mapped));
    return {};
  }

  error missing_from(const std::filesystem::path& path, const std::set<std::string>& expected) const {
    const auto absent = std::find_if(expected.begin(), expected.end(), [&](const auto& name) {
      const auto at = tensors.find(name);
      return at == tensors.end() || at->second.file != path.string();
    });
    return {errc::bad_input, path.string() + ": " + *absent + ": is missing, though the index places it here"};
  }
};

result<checkpoint> checkpoint::open(const std::filesystem::path& dir) {
  auto s = std::make_unique<state>();
  s->dir = dir.string();
  const auto index = dir / "model.safetensors.index.json";
  if (!std::filesystem::exists(index)) {
    TROUPE_TRY(s->add_file(dir / "model.safetensors", nullptr));
    return checkpoint(std::move(s));
  }
  TROUPE_ASSIGN(const auto shards, read_index(index));
  for (const auto& [name, tensors] : shards) TROUPE_TRY(s->add_file(dir / name, &tensors));
  return checkpoint(std::move(s));
}

const tensor_view* checkpoint::find(std::string_view name) const {
  const auto at = state_->tensors.find(std::string(name));
  return at == state_->tensors.end() || !at->second.computable ? nullptr : &at->second.view;
}

result<tensor_view> checkpoint::require(std::string_view name, std::span<const std::int64_t> shape) const {
  const auto at = state_->tensors.find(std::string(name));
  if (at == state_->tensors.end())
    return error{errc::bad_input, state_->dir + ": " + std::string(name) + ": tensor is missing"};
  const auto& found = at->second;
  const auto bad = [&](const std::string& reason) {
    return error{errc::bad_input, found.file + ": " + std::string(name) + ": " + reason};
  };
  if (!found.computable) return bad("dtype " + found.dtype + " is not supported here");
  if (!std::equal(shape.begin(), shape.end(), found.view.shape.begin(), found.view.shape.end()))
    return bad("has shape " + shape_text(found.view.shape) + ", expected " + shape_text(shape));
  return found.view;
}

std::vector<std::string> checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, stored] : state_->tensors) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

std::size_t checkpoint::tensor_count() const { return state_->tensors.size(); }

checkpoint::checkpoint(std::unique_ptr<state> s) : state_(std::move(s)) {}
checkpoint::checkpoint(checkpoint&&) noexcept = default;
checkpoint& checkpoint::operator=(checkpoint&&) noexcept = default;
checkpoint::~checkpoint() = default;

} // namespace troupe::model
