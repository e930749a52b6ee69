#include "runtime/exec/cpu_experts.hpp"

#include "runtime/exec/cpu_loading.hpp"
#include "runtime/exec/expert_batch.hpp"

#include <algorithm>

namespace troupe::exec {

cpu_experts::cpu_experts(const model::model_config& config, const cpu_device& device)
    : config_(config), device_(device), kernel_(device.target) {}

result<std::unique_ptr<cpu_experts>> cpu_experts::load(weight_source& from, const model::model_config& config,
                                                       std::span<const expert_index> owned,
                                                       const cpu_options& options) {
  TROUPE_ASSIGN(const auto device, open_cpu(from, options));
  std::unique_ptr<cpu_experts> self(new cpu_experts(config, device));
  const auto layers = config.layer_count + (has_mtp(from, config) ? 1 : 0);
  std::vector<layer_index> moe_layers;
  for (layer_index layer = 0; layer < layers; ++layer) {
    self->layer_slot_.push_back(config.is_moe(layer) ? static_cast<std::int32_t>(moe_layers.size()) : -1);
    if (config.is_moe(layer)) moe_layers.push_back(layer);
  }
  self->expert_slot_.assign(static_cast<std::size_t>(config.expert_count), -1);
  for (const auto expert : owned) {
    if (expert < 0 || expert >= config.expert_count)
      return error{errc::bad_input, "the model has no expert " + std::to_string(expert)};
    self->expert_slot_[static_cast<std::size_t>(expert)] = static_cast<std::int32_t>(self->owned_count_++);
  }

  self->weights_.resize(moe_layers.size() * owned.size());
  const auto load_one = [&](std::int64_t i) {
    const auto layer = moe_layers[static_cast<std::size_t>(i / self->owned_count_)];
    const auto expert = owned[static_cast<std::size_t>(i % self->owned_count_)];
    return assign(self->weights_[static_cast<std::size_t>(i)], load_expert(from, config, layer, expert, device.target));
  };
  TROUPE_TRY(
      load_in_parallel(*device.pool, static_cast<std::int64_t>(self->weights_.size()), options.progress, load_one));
  return self;
}

std::int64_t cpu_experts::expert_bytes() const { return weights_.empty() ? 0 : weights_.front().bytes(); }

const kernels::ffn_weights& cpu_experts::weights_of(layer_index layer, expert_index expert) const {
  const auto slot =
      layer_slot_[static_cast<std::size_t>(layer)] * owned_count_ + expert_slot_[static_cast<std::size_t>(expert)];
  return weights_[static_cast<std::size_t>(slot)];
}

result<moe::shard_output> cpu_experts::run(const moe::shard_batch& batch) {
  TROUPE_TRY(check_expert_batch(batch, config_.hidden_size, layer_slot_, expert_slot_));
  const auto row_bytes = static_cast<std::size_t>(config_.hidden_size) * moe::bytes_of(batch.type);
  const auto type = batch.type == moe::element::f32 ? kernels::tensor_type::f32 : kernels::tensor_type::bf16;
  const auto pairs = batch.experts.size();
  const moe::shard_output answer{.outputs = segment::allocate(pairs * row_bytes)};
  jobs_.clear();
  for (std::size_t first = 0; first < pairs;) {
    const auto expert = batch.experts[first];
    const auto end = static_cast<std::size_t>(std::upper_bound(batch.experts.begin(), batch.experts.end(), expert) -
                                              batch.experts.begin());
    jobs_.push_back({.weights = &weights_of(batch.layer, expert),
                     .rows = std::span(batch.rows).subspan(first, end - first),
                     .y = answer.outputs.writable().data() + first * row_bytes,
                     .y_type = type});
    first = end;
  }
  kernel_.run(*device_.pool, {batch.inputs.bytes().data(), type, config_.hidden_size}, jobs_);
  return answer;
}

} // namespace troupe::exec
