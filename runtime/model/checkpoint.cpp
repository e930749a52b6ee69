#include "runtime/model/checkpoint.hpp"

#include "runtime/model/file_error.hpp"
#include "runtime/model/mapped_file.hpp"
#include "runtime/model/safetensors.hpp"
#include "runtime/model/shard_index.hpp"
#include "runtime/model/text_file.hpp"

#include <algorithm>
#include <deque>
#include <map>

namespace troupe::model {

struct checkpoint::state {
  struct shard {
    std::string path;
    mapped_file file;
  };
  struct stored_tensor {
    tensor_view view;
    std::string dtype;
    bool computable = false; ///< a kernel knows the dtype
  };

  std::string dir;
  std::deque<shard> shards; ///< stays in place: views point to the paths
  std::map<std::string, stored_tensor, std::less<>> tensors;

  result<void> add(const std::filesystem::path& path);
  result<void> check_index(const shard_index& index) const;
};

result<void> checkpoint::state::add(const std::filesystem::path& path) {
  TROUPE_ASSIGN(auto mapped, mapped_file::open(path));
  shards.push_back({path.string(), std::move(mapped)});
  const auto& shard = shards.back();
  TROUPE_ASSIGN(auto entries, parse_safetensors(shard.file.bytes(), shard.path));
  for (auto& entry : entries) {
    const auto known = tensors.find(entry.name);
    if (known != tensors.end())
      return file_error(shard.path, entry.name, "is also in " + std::string(known->second.view.file));
    tensor_view view{entry.type.value_or(kernels::tensor_type{}), std::move(entry.shape), entry.bytes, shard.path};
    tensors.try_emplace(std::move(entry.name),
                        stored_tensor{std::move(view), std::move(entry.dtype), entry.type.has_value()});
  }
  return {};
}

result<void> checkpoint::state::check_index(const shard_index& index) const {
  auto shard = shards.begin();
  for (const auto& [file, names] : index) {
    for (const auto& name : names) {
      const auto found = tensors.find(name);
      if (found == tensors.end() || found->second.view.file != shard->path)
        return file_error(shard->path, name, "is missing, though the index places it here");
    }
    ++shard;
  }
  return {};
}

result<checkpoint> checkpoint::open(const std::filesystem::path& dir) {
  auto s = std::make_unique<state>();
  s->dir = dir.string();
  const auto index_path = dir / "model.safetensors.index.json";
  const auto text = read_text_file(index_path);
  if (!text && text.error().code != errc::not_found) return text.error();
  if (!text) {
    TROUPE_TRY(s->add(dir / "model.safetensors"));
    return checkpoint(std::move(s));
  }
  TROUPE_ASSIGN(const auto index, parse_shard_index(*text, index_path.string()));
  for (const auto& [file, names] : index) TROUPE_TRY(s->add(dir / file));
  TROUPE_TRY(s->check_index(index));
  return checkpoint(std::move(s));
}

const tensor_view* checkpoint::find(std::string_view name) const {
  const auto found = state_->tensors.find(name);
  return found == state_->tensors.end() || !found->second.computable ? nullptr : &found->second.view;
}

result<tensor_view> checkpoint::require(std::string_view name, std::span<const std::int64_t> shape) const {
  const auto found = state_->tensors.find(name);
  if (found == state_->tensors.end()) return file_error(state_->dir, name, "is missing");
  const auto& [view, dtype, computable] = found->second;
  if (!computable) return file_error(view.file, name, "dtype " + dtype + " is not supported here");
  if (!std::ranges::equal(shape, view.shape))
    return file_error(view.file, name, "has shape " + shape_text(view.shape) + ", expected " + shape_text(shape));
  return view;
}

void checkpoint::keep(std::vector<std::span<const std::byte>> wanted) {
  const auto begin_of = [](const auto& part) { return part.data(); };
  std::ranges::sort(wanted, {}, begin_of);
  /// Those that begin in [from, from + bytes).
  const auto within = [&](std::span<const std::byte> bytes) {
    const auto first = std::ranges::lower_bound(wanted, bytes.data(), {}, begin_of);
    const auto last = std::ranges::lower_bound(wanted, bytes.data() + bytes.size(), {}, begin_of);
    return std::span(first, last);
  };
  for (auto& [name, tensor] : state_->tensors)
    if (within(tensor.view.bytes).empty()) tensor.view.bytes = {};
  for (auto& shard : state_->shards) shard.file.keep(within(shard.file.bytes()));
}

std::vector<std::string> checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state_->tensors) names.push_back(name);
  return names;
}

std::size_t checkpoint::tensor_count() const { return state_->tensors.size(); }

checkpoint::checkpoint(std::unique_ptr<state> s) : state_(std::move(s)) {}
checkpoint::checkpoint(checkpoint&&) noexcept = default;
checkpoint& checkpoint::operator=(checkpoint&&) noexcept = default;
checkpoint::~checkpoint() = default;

} // namespace troupe::model
