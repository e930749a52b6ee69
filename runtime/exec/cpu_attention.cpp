#include "runtime/exec/cpu_attention.hpp"

#include "kernels/cpu/elementwise.hpp"

namespace troupe::exec {
namespace {

/// transformers builds the two inner norms with its class default, whatever the config says (model-spec.md section 4).
constexpr float latent_norm_eps = 1e-6f;

void add_bias(const std::vector<float>& bias, float* row) {
  if (!bias.empty()) kernels::add(bias.data(), static_cast<std::int64_t>(bias.size()), row);
}

float* resized(std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
  values.resize(static_cast<std::size_t>(rows * cols));
  return values.data();
}

} // namespace

cpu_attention::cpu_attention(const model::model_config& config, const cpu_device& device, kernels::cache_format format)
    : config_(config), device_(device), shape_(mla_shape_of(config)), cache_(device.target.compute, format),
      rotary_(rope_config_of(config)), mla_(device.target, format), input_(device.target) {}

void cpu_attention::run(const attention_weights& w, const cpu_batch& batch, const float* normed, std::byte* cache,
                        float* out) {
  auto& pool = *device_.pool;
  const auto rows = batch.rows();
  input_.assign(pool, normed, config_.hidden_size, rows, config_.hidden_size);
  w.kv_a.multiply(pool, input_, resized(entry_, rows, shape_.entry()), shape_.entry());
  project_query(w, rows);
  pool.parallel_for(rows, [&](std::int64_t row) {
    cache_row(w, batch, row, cache);
    rotate_query(batch, row);
  });

  const auto width = shape_.heads * shape_.value;
  mla_.run(pool, *w.kv_b, batch.sequences(), cache, query_.data(), shape_.heads * config_.qk_head_dim(),
           resized(attended_, rows, width), width);
  w.o.multiply(pool, attended_.data(), width, rows, out, config_.hidden_size);
  for (std::int64_t row = 0; row < rows; ++row) add_bias(w.o_bias, out + row * config_.hidden_size);
}

void cpu_attention::project_query(const attention_weights& w, std::int64_t rows) {
  auto& pool = *device_.pool;
  const auto query_width = shape_.heads * config_.qk_head_dim();
  auto* query = resized(query_, rows, query_width);
  if (config_.q_lora_rank == 0) return w.q.multiply(pool, input_, query, query_width);

  const std::int64_t rank = config_.q_lora_rank;
  auto* latent = resized(query_latent_, rows, rank);
  w.q_a.multiply(pool, input_, latent, rank);
  pool.parallel_for(rows, [&](std::int64_t row) {
    add_bias(w.q_a_bias, latent + row * rank);
    kernels::rmsnorm(latent + row * rank, w.q_a_norm.data(), rank, latent_norm_eps, latent + row * rank);
  });
  w.q.multiply(pool, latent, rank, rows, query, query_width);
}

void cpu_attention::rotate_query(const cpu_batch& batch, std::int64_t row) {
  const auto head_dim = shape_.nope + shape_.rope;
  auto* heads = query_.data() + row * shape_.heads * head_dim;
  for (std::int64_t head = 0; head < shape_.heads; ++head)
    rotary_.rotate(heads + head * head_dim + shape_.nope, batch.cos(row), batch.sin(row));
}

void cpu_attention::cache_row(const attention_weights& w, const cpu_batch& batch, std::int64_t row, std::byte* cache) {
  auto* latent = entry_.data() + row * shape_.entry();
  auto* key = latent + shape_.latent;
  add_bias(w.kv_a_bias, latent);
  kernels::rmsnorm(latent, w.kv_a_norm.data(), shape_.latent, latent_norm_eps, latent);
  rotary_.rotate(key, batch.cos(row), batch.sin(row));
  kernels::write_cache_entry(shape_, cache_, cache, batch.page(row), batch.position(row), latent, key);
}

} // namespace troupe::exec
