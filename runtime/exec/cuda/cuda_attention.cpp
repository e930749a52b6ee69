#include "runtime/exec/cuda/cuda_attention.hpp"

#include "kernels/cuda/mla_decode.hpp"
#include "kernels/cuda/mla_prefill.hpp"
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
/// Expanding a position costs what 253 rows save at it (33.5 Mflop; 278 against 82 kflop, at the rates of README.md).
constexpr int expanded_rows_min = 256;
/// 16,384 positions of R1's 128 heads.
constexpr std::size_t expanded_bytes_max = std::size_t{1} << 30;

} // namespace

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
  values_.reserve(static_cast<std::size_t>(batch.rows) * config_.head_count * config_.v_head_dim);
  batch_chunk absorbed; // neighbours of this kind take one way together
  const auto attend_them = [&] {
    if (absorbed.rows > 0) attend_absorbed(w, batch, absorbed, cache, stream);
  };
  for (const auto& chunk : batch.chunks) {
    if (!expands(w, chunk, cache)) {
      absorbed.rows += chunk.rows;
      continue;
    }
    attend_them();
    attend_expanded(w, batch, chunk, cache, stream);
    absorbed = {chunk.first_row + chunk.rows, 0, 0};
  }
  attend_them();
  products_.multiply(w.o, values_.get(), batch.rows, x, cuda::linear_out::add_f32, w.o_bias.as<float>(), stream);
}

void cuda_attention::project(const cuda_attention_weights& w, const device_batch& batch, const std::uint16_t* normed,
                             cudaStream_t stream) {
  const auto rows = static_cast<std::size_t>(batch.rows);
  constexpr auto f32 = cuda::linear_out::f32;
  auto* projected = projected_.reserve(rows * static_cast<std::size_t>(w.in.rows));
  products_.multiply(w.in, normed, batch.rows, projected, f32, w.in_bias.as<float>(), stream);
  auto* query = query_.reserve(rows * static_cast<std::size_t>(w.q.rows));
  if (const int rank = config_.q_lora_rank; rank > 0)
    normed = query_norm_.run({projected, w.in.rows}, batch.rows, rank, w.q_a_norm, latent_norm_eps, stream);
  products_.multiply(w.q, normed, batch.rows, query, f32, nullptr, stream);
}

/// Long enough to pay for the expansion of every position, and not so long that the expansion fills the memory. Only
/// from plain entries.
bool cuda_attention::expands(const cuda_attention_weights& w, const batch_chunk& chunk,
                             const layer_cache& cache) const {
  const auto bytes = static_cast<std::size_t>(chunk.positions) * w.kv_b.rows * sizeof(std::uint16_t);
  return cache.format == kernels::cache_format::plain && w.kv_b.rows > 0 && config_.qk_nope_head_dim == 128 &&
         config_.v_head_dim == 128 && chunk.rows >= expanded_rows_min && bytes <= expanded_bytes_max;
}

/// Queries of `rows` to bf16, rotated, and their entries into the cache.
void cuda_attention::split_rows(const cuda_attention_weights& w, const device_batch& batch, const batch_chunk& rows,
                                const query_rows& to, const layer_cache& cache, cudaStream_t stream) {
  const auto first = static_cast<std::size_t>(rows.first_row);
  const int pairs = config_.qk_rope_head_dim / 2;
  cuda::mla_rows_args args;
  args.q = query_.get() + first * static_cast<std::size_t>(w.q.rows);
  args.entry = projected_.get() + first * static_cast<std::size_t>(w.in.rows) + config_.q_lora_rank;
  args.entry_pitch = w.in.rows, args.norm = w.kv_a_norm.as<float>();
  args.cos = batch.cos + first * pairs, args.sin = batch.sin + first * pairs, args.slots = batch.slots + first;
  args.q_nope = to.nope, args.q_nope_pitch = to.nope_pitch, args.q_rope = to.rope, args.q_rope_pitch = to.rope_pitch;
  args.cache = cache.entries, args.format = cache.format;
  args.tokens = rows.rows, args.heads = config_.head_count, args.nope = config_.qk_nope_head_dim;
  args.eps = latent_norm_eps, args.interleaved = config_.rope_interleave;
  must(cuda::mla_rows(args, stream));
}

void cuda_attention::attend_absorbed(const cuda_attention_weights& w, const device_batch& batch,
                                     const batch_chunk& rows, const layer_cache& cache, cudaStream_t stream) {
  const auto pairs = static_cast<std::size_t>(rows.rows) * config_.head_count; // of row and head
  auto* nope = nope_.reserve(pairs * config_.qk_nope_head_dim);
  auto* absorbed = absorbed_.reserve(pairs * cuda::mla_entry);
  split_rows(w, batch, rows, {nope, absorbed + cuda::mla_latent, config_.qk_nope_head_dim, cuda::mla_entry}, cache,
             stream);
  cuda::linear_args absorb; // q~ = q_nope W_UK per head
  absorb.weights = w.key.data.as<void>();
  absorb.x = nope, absorb.x_pitch = std::int64_t{w.key.cols} * config_.head_count, absorb.x_group = w.key.cols;
  absorb.y = absorbed, absorb.out = cuda::linear_out::bf16;
  absorb.y_pitch = std::int64_t{cuda::mla_entry} * config_.head_count, absorb.y_group = cuda::mla_entry;
  absorb.rows = w.key.rows, absorb.cols = w.key.cols, absorb.tokens = rows.rows, absorb.groups = config_.head_count;
  absorb.batch_invariant = w.key.batch_invariant;
  must(cuda::linear(absorb, stream));

  attend_latent(batch, rows, cache, stream);
  cuda::linear_args expand; // o = z W_UVᵀ per head
  expand.weights = w.value.data.as<void>();
  expand.x = latent_.get(), expand.x_pitch = std::int64_t{w.value.cols} * config_.head_count;
  expand.x_group = w.value.cols;
  expand.y = values_at(rows.first_row), expand.out = cuda::linear_out::bf16;
  expand.y_pitch = std::int64_t{config_.head_count} * config_.v_head_dim, expand.y_group = config_.v_head_dim;
  expand.rows = w.value.rows, expand.cols = w.value.cols, expand.tokens = rows.rows;
  expand.groups = config_.head_count, expand.batch_invariant = w.value.batch_invariant;
  must(cuda::linear(expand, stream));
}

/// Every row is a request of its own: prefill rows take the way of decode rows and get the same bits.
void cuda_attention::attend_latent(const device_batch& batch, const batch_chunk& rows, const layer_cache& cache,
                                   cudaStream_t stream) {
  const auto heads = static_cast<std::size_t>(config_.head_count);
  const int splits = cuda::mla_splits_most(batch.table_pages);
  const auto row_floats = static_cast<std::size_t>(splits) * heads * cuda::mla_latent;
  const auto rows_max = static_cast<int>(std::clamp<std::size_t>(partial_bytes_max / (row_floats * sizeof(float)), 1,
                                                                 static_cast<std::size_t>(rows.rows)));
  auto* out = latent_.reserve(static_cast<std::size_t>(rows.rows) * heads * cuda::mla_latent);
  cuda::mla_decode_args args;
  args.cache = cache.entries, args.format = cache.format, args.pages = cache.pages;
  args.scale = scale_, args.heads = config_.head_count;
  args.table_pages = batch.table_pages, args.splits = splits, args.by_length = true;
  if (splits > 1) {
    args.partial_out = partial_out_.reserve(static_cast<std::size_t>(rows_max) * row_floats);
    args.partial_lse = partial_lse_.reserve(static_cast<std::size_t>(rows_max) * splits * heads);
  }
  for (int first = 0; first < rows.rows; first += rows_max) {
    const auto at = static_cast<std::size_t>(first) * heads;
    args.q = absorbed_.get() + at * cuda::mla_entry, args.out = out + at * cuda::mla_latent;
    args.tables = batch.tables + static_cast<std::size_t>(rows.first_row + first) * batch.table_pages;
    args.lengths = batch.lengths + rows.first_row + first;
    args.requests = std::min(rows_max, rows.rows - first);
    must(cuda::mla_decode(args, stream));
  }
}

/// Keys and values of all the sequence's positions from its pages, then attention over them.
void cuda_attention::attend_expanded(const cuda_attention_weights& w, const device_batch& batch,
                                     const batch_chunk& chunk, const layer_cache& cache, cudaStream_t stream) {
  const int nope = config_.qk_nope_head_dim, width = config_.qk_head_dim(), heads = config_.head_count;
  auto* query = whole_query_.reserve(static_cast<std::size_t>(chunk.rows) * heads * width);
  split_rows(w, batch, chunk, {query, query + nope, width, width}, cache, stream);

  constexpr int page_width = cuda::mla_page * cuda::mla_entry;
  const int pages = (chunk.positions + cuda::mla_page - 1) / cuda::mla_page;
  const auto* table = batch.tables + static_cast<std::size_t>(chunk.first_row + chunk.rows - 1) * batch.table_pages;
  auto* entries = entries_.reserve(static_cast<std::size_t>(pages) * page_width);
  must(cuda::gather_rows(static_cast<const std::uint16_t*>(cache.entries), table, pages, page_width, entries, stream));

  cuda::linear_args expand;
  expand.weights = w.kv_b.data.as<void>(), expand.scales = w.kv_b.scales.as<float>();
  expand.x = entries, expand.x_pitch = cuda::mla_entry;
  expand.y = keys_values_.reserve(static_cast<std::size_t>(chunk.positions) * w.kv_b.rows);
  expand.y_pitch = w.kv_b.rows, expand.out = cuda::linear_out::bf16;
  expand.rows = w.kv_b.rows, expand.cols = w.kv_b.cols, expand.tokens = chunk.positions, expand.batch_invariant = false;
  products_.run(expand, stream);

  cuda::mla_prefill_args args;
  args.q = query, args.kv = keys_values_.get(), args.rope = entries + cuda::mla_latent;
  args.rope_pitch = cuda::mla_entry, args.out = values_at(chunk.first_row), args.scale = scale_;
  args.rows = chunk.rows, args.positions = chunk.positions, args.heads = heads;
  must(cuda::mla_prefill(args, stream));
}

} // namespace troupe::exec
