#include "runtime/exec/cuda/cuda_attention.hpp"

#include "kernels/cuda/mla_decode.hpp"
#include "kernels/cuda/mla_rows.hpp"
#include "kernels/cuda/rows.hpp"
#include "runtime/exec/cpu_weights.hpp"

#include <algorithm>

namespace troupe::exec {
namespace {

/// transformers builds the two inner norms with its class default, whatever the config says (model-spec.md section 4).
constexpr float latent_norm_eps = 1e-6f;
/// Rows of one attention pass: partial results of all its splits stay below this.
constexpr std::size_t partial_bytes_max = std::size_t{256} << 20;

} // namespace

void multiply(const device_matrix& w, const std::uint16_t* x, int tokens, void* y, cuda::linear_out out,
              const float* bias, cudaStream_t stream) {
  cuda::linear_args args;
  args.weights = w.data.as<void>(), args.scales = w.scales.as<float>(), args.bias = bias;
  args.x = x, args.y = y, args.out = out;
  args.x_pitch = w.cols, args.y_pitch = w.rows;
  args.rows = w.rows, args.cols = w.cols, args.tokens = tokens, args.batch_invariant = w.batch_invariant;
  must(cuda::linear(args, stream));
}

const std::uint16_t* row_norm::run(const float_rows& x, int tokens, int width, const device_memory& weight, float eps,
                                   cudaStream_t stream) {
  cuda::rmsnorm_args args;
  args.x = x.first, args.x_pitch = x.pitch, args.row_of = x.row_of, args.weight = weight.as<float>();
  args.tokens = tokens, args.width = width, args.eps = eps;
  args.y = rows_.reserve(static_cast<std::size_t>(tokens) * width), args.y_pitch = width;
  must(cuda::rmsnorm(args, stream));
  return args.y;
}

cuda_attention::cuda_attention(const model::model_config& config)
    : config_(config), scale_(kernels::softmax_scale(rope_config_of(config), config.qk_head_dim())) {}

void cuda_attention::run(const cuda_layer_weights& layer, const device_batch& batch, const layer_cache& cache, float* x,
                         cudaStream_t stream) {
  const auto& w = layer.attention;
  const auto normed = input_.run({x, config_.hidden_size}, batch.rows, config_.hidden_size, layer.input_norm,
                                 config_.rms_norm_eps, stream);
  project(w, batch, normed, stream);

  const auto heads = static_cast<std::size_t>(config_.head_count), rows = static_cast<std::size_t>(batch.rows);
  cuda::mla_rows_args args;
  args.q = query_.get(), args.entry = projected_.get() + config_.q_lora_rank, args.entry_pitch = w.in.rows;
  args.norm = w.kv_a_norm.as<float>();
  args.cos = batch.cos, args.sin = batch.sin, args.slots = batch.slots;
  args.q_nope = nope_.reserve(rows * heads * config_.qk_nope_head_dim);
  args.absorbed = absorbed_.reserve(rows * heads * cuda::mla_entry);
  args.cache = cache.entries, args.format = cache.format;
  args.tokens = batch.rows, args.heads = config_.head_count, args.nope = config_.qk_nope_head_dim;
  args.eps = latent_norm_eps, args.interleaved = config_.rope_interleave;
  must(cuda::mla_rows(args, stream));

  cuda::linear_args absorb; // q~ = q_nope W_UK per head
  absorb.weights = w.key.data.as<void>();
  absorb.x = nope_.get(), absorb.x_pitch = std::int64_t{w.key.cols} * config_.head_count, absorb.x_group = w.key.cols;
  absorb.y = absorbed_.get(), absorb.out = cuda::linear_out::bf16;
  absorb.y_pitch = std::int64_t{cuda::mla_entry} * config_.head_count, absorb.y_group = cuda::mla_entry;
  absorb.rows = w.key.rows, absorb.cols = w.key.cols, absorb.tokens = batch.rows, absorb.groups = config_.head_count;
  absorb.batch_invariant = w.key.batch_invariant;
  must(cuda::linear(absorb, stream));

  attend(batch, cache, stream);
  multiply(w.o, attended(w, batch.rows, stream), batch.rows, x, cuda::linear_out::add_f32, w.o_bias.as<float>(),
           stream);
}

void cuda_attention::project(const cuda_attention_weights& w, const device_batch& batch, const std::uint16_t* normed,
                             cudaStream_t stream) {
  const auto rows = static_cast<std::size_t>(batch.rows);
  constexpr auto f32 = cuda::linear_out::f32;
  auto* projected = projected_.reserve(rows * static_cast<std::size_t>(w.in.rows));
  multiply(w.in, normed, batch.rows, projected, f32, w.in_bias.as<float>(), stream);
  auto* query = query_.reserve(rows * static_cast<std::size_t>(w.q.rows));
  if (const int rank = config_.q_lora_rank; rank > 0)
    normed = query_norm_.run({projected, w.in.rows}, batch.rows, rank, w.q_a_norm, latent_norm_eps, stream);
  multiply(w.q, normed, batch.rows, query, f32, nullptr, stream);
}

/// Every row is a request of its own: prefill rows take the way of decode rows and get the same bits.
void cuda_attention::attend(const device_batch& batch, const layer_cache& cache, cudaStream_t stream) {
  const auto heads = static_cast<std::size_t>(config_.head_count);
  const int splits = cuda::mla_splits_most(batch.table_pages);
  const auto row_floats = static_cast<std::size_t>(splits) * heads * cuda::mla_latent;
  const auto rows_max = static_cast<int>(std::clamp<std::size_t>(partial_bytes_max / (row_floats * sizeof(float)), 1,
                                                                 static_cast<std::size_t>(batch.rows)));
  auto* out = latent_.reserve(static_cast<std::size_t>(batch.rows) * heads * cuda::mla_latent);
  cuda::mla_decode_args args;
  args.cache = cache.entries, args.format = cache.format, args.pages = cache.pages;
  args.scale = scale_, args.heads = config_.head_count;
  args.table_pages = batch.table_pages, args.splits = splits, args.by_length = true;
  if (splits > 1) {
    args.partial_out = partial_out_.reserve(static_cast<std::size_t>(rows_max) * row_floats);
    args.partial_lse = partial_lse_.reserve(static_cast<std::size_t>(rows_max) * splits * heads);
  }
  for (int first = 0; first < batch.rows; first += rows_max) {
    const auto at = static_cast<std::size_t>(first) * heads;
    args.q = absorbed_.get() + at * cuda::mla_entry, args.out = out + at * cuda::mla_latent;
    args.tables = batch.tables + static_cast<std::size_t>(first) * batch.table_pages;
    args.lengths = batch.lengths + first;
    args.requests = std::min(rows_max, batch.rows - first);
    must(cuda::mla_decode(args, stream));
  }
}

/// o = z W_UVᵀ per head, ready for the output projection.
const std::uint16_t* cuda_attention::attended(const cuda_attention_weights& w, int rows, cudaStream_t stream) {
  const int width = config_.head_count * config_.v_head_dim;
  cuda::linear_args expand;
  expand.weights = w.value.data.as<void>();
  expand.x = latent_.get(), expand.x_pitch = std::int64_t{w.value.cols} * config_.head_count;
  expand.x_group = w.value.cols;
  expand.y = values_.reserve(static_cast<std::size_t>(rows) * width), expand.out = cuda::linear_out::bf16;
  expand.y_pitch = width, expand.y_group = config_.v_head_dim;
  expand.rows = w.value.rows, expand.cols = w.value.cols, expand.tokens = rows, expand.groups = config_.head_count;
  expand.batch_invariant = w.value.batch_invariant;
  must(cuda::linear(expand, stream));
  return values_.get();
}

} // namespace troupe::exec
