#include "runtime/exec/cuda/cuda_experts.hpp"

#include "kernels/cuda/route.hpp"
#include "kernels/cuda/rows.hpp"
#include "runtime/exec/device/weight_shapes.hpp"
#include "runtime/exec/expert_batch.hpp"
#include "runtime/moe/elements.hpp"

#include <algorithm>
#include <cstring>

namespace troupe::exec {
namespace {

/// From so many rows on one product an expert over sorted rows beats passes over slots, of which R1 needs a second one:
/// with 768 rows 11.8 against 13.9 ms for a slice, with 512 rows 9.7 against 8.9.
constexpr int sorted_rows_min = 700;
/// In BF16 the bits are the same, and the time is until slots would need a second pass: less memory decides.
constexpr int sorted_bf16_rows_min = 256;

bool are_sorted(const device_ffn& w, const device_rows& rows) {
  if (!w.is_grouped()) return false;
  if (!w.is_fp8()) return rows.rows >= sorted_bf16_rows_min;
  return rows.rows >= sorted_rows_min && !rows.batch_invariant;
}

/// Of one expert's rows: twice the mean, and some more.
int rows_hint(const device_ffn& w, int tokens, int top_k) {
  return std::min(tokens, 2 * tokens * top_k / w.experts + 8);
}

result<device_memory> copy_of(std::span<const std::int32_t> values) {
  TROUPE_ASSIGN(auto memory, device_memory::allocate(values.size_bytes()));
  must(cudaMemcpy(memory.as<void>(), values.data(), values.size_bytes(), cudaMemcpyHostToDevice));
  return memory;
}

} // namespace

result<std::unique_ptr<cuda_experts>> cuda_experts::load(const cuda_device& device, weight_source& from,
                                                         const model::model_config& config,
                                                         std::span<const expert_index> owned) {
  TROUPE_TRY(check_device_shape(config));
  device.enter();
  std::unique_ptr<cuda_experts> self(new cuda_experts(device, config));
  self->expert_slot_.assign(static_cast<std::size_t>(config.expert_count), -1);
  for (const auto expert : owned) {
    if (expert < 0 || expert >= config.expert_count)
      return error{errc::bad_input, "the model has no expert " + std::to_string(expert)};
    self->expert_slot_[static_cast<std::size_t>(expert)] = self->owned_count_++;
  }
  const auto layers = config.layer_count + (has_mtp(from, config) ? 1 : 0);
  uploader to;
  for (layer_index layer = 0; layer < layers; ++layer) {
    self->layer_slot_.push_back(config.is_moe(layer) ? static_cast<std::int32_t>(self->weights_.size()) : -1);
    if (!config.is_moe(layer)) continue;
    TROUPE_ASSIGN(auto loaded, load_cuda_experts(from, config, layer, owned, to));
    self->weights_.push_back(std::move(loaded));
  }
  to.finish();
  TROUPE_ASSIGN(self->owned_, copy_of(owned));
  TROUPE_ASSIGN(self->slot_of_, copy_of(self->expert_slot_));
  return self;
}

result<moe::shard_output> cuda_experts::run(const moe::shard_batch& batch) {
  TROUPE_TRY(check_expert_batch(batch, config_.hidden_size, layer_slot_, expert_slot_));
  device_.enter();
  moe::shard_output answer;
  answer.outputs = segment::allocate(batch.experts.size() * static_cast<std::size_t>(config_.hidden_size) *
                                     moe::bytes_of(batch.type));
  if (batch.experts.empty()) return answer;
  send_inputs(batch);
  const int most = static_cast<int>(batch.rows.size()); // of one expert, at most
  const int rows_max = cuda_ffn::rows_max(weights_of(batch.layer), most);
  for (const auto& pass : cut_into_passes(batch.experts, batch.rows, expert_slot_, owned_count_, rows_max))
    run_pass(batch, pass, rows_max, answer.outputs.writable().data());
  return answer;
}

/// Rows reach the kernels as bf16, however they travelled.
void cuda_experts::send_inputs(const moe::shard_batch& batch) {
  const auto count = batch.inputs.size() / moe::bytes_of(batch.type);
  auto* host = reinterpret_cast<std::uint16_t*>(host_rows_.reserve(count * 2));
  if (batch.type == moe::element::bf16) {
    std::memcpy(host, batch.inputs.bytes().data(), count * 2);
  } else {
    kernels::to_bf16(reinterpret_cast<const float*>(batch.inputs.bytes().data()), host,
                     static_cast<std::int64_t>(count));
  }
  must(cudaMemcpyAsync(inputs_.reserve(count), host, count * 2, cudaMemcpyHostToDevice, stream_));
  stream_.wait(); // host_rows_ is used again for the answers
}

void cuda_experts::run_pass(const moe::shard_batch& batch, const slot_pass& pass, int rows_max, std::byte* outputs) {
  const auto hidden = static_cast<std::size_t>(config_.hidden_size);
  const auto words = pass.rows.size() + pass.token_of.size() + pass.slot_of.size();
  auto* host = host_slots_.reserve(words);
  auto* end = std::copy(pass.rows.begin(), pass.rows.end(), host);
  end = std::copy(pass.token_of.begin(), pass.token_of.end(), end);
  std::copy(pass.slot_of.begin(), pass.slot_of.end(), end);
  auto* rows = slots_.reserve(words);
  must(cudaMemcpyAsync(rows, host, words * sizeof(int), cudaMemcpyHostToDevice, stream_));
  const auto* token_of = rows + pass.rows.size();
  const auto* slot_of = token_of + pass.token_of.size();

  const expert_slots slots{rows, token_of, rows_max, pass.rows_hint};
  const auto* out = ffn_.run_routed(weights_of(batch.layer), slots, inputs_.get(), stream_);
  const auto pairs = pass.pairs.size();
  auto* gathered = answers_.reserve(pairs * hidden);
  must(cuda::gather_rows(out, slot_of, static_cast<int>(pairs), config_.hidden_size, gathered, stream_));
  auto* answers = reinterpret_cast<std::uint16_t*>(host_rows_.reserve(pairs * hidden * 2));
  must(cudaMemcpyAsync(answers, gathered, pairs * hidden * 2, cudaMemcpyDeviceToHost, stream_));
  stream_.wait();
  const auto row_bytes = hidden * moe::bytes_of(batch.type);
  for (std::size_t i = 0; i < pairs; ++i) {
    auto* to = outputs + pass.pairs[i] * row_bytes;
    if (batch.type == moe::element::bf16) {
      std::memcpy(to, answers + i * hidden, row_bytes);
    } else {
      kernels::from_bf16(answers + i * hidden, reinterpret_cast<float*>(to), static_cast<std::int64_t>(hidden));
    }
  }
}

void cuda_experts::add(layer_index layer, const device_rows& rows, cudaStream_t stream) {
  const auto& w = weights_of(layer);
  if (are_sorted(w, rows)) return add_sorted(w, rows, stream);
  const auto hidden = static_cast<std::size_t>(config_.hidden_size);
  const int top_k = config_.experts_per_token;
  const int rows_max = cuda_ffn::rows_max(w, std::min(rows.rows, cuda::gate_tokens_max));
  const auto token_slots = static_cast<std::size_t>(w.experts) * rows_max;
  const auto counts = static_cast<std::size_t>(w.experts + 3) / 4 * 4; // keeps token_of aligned
  cuda::gate_permute_args choice;
  choice.route.experts = w.experts, choice.route.top_k = top_k;
  choice.rows = slots_.reserve(counts + token_slots + static_cast<std::size_t>(rows_max) * top_k);
  choice.token_of = choice.rows + counts, choice.slot_of = choice.token_of + token_slots;
  for (int first = 0; first < rows.rows; first += rows_max) {
    const int count = std::min(rows_max, rows.rows - first);
    const auto at = static_cast<std::size_t>(first) * hidden, chosen = static_cast<std::size_t>(first) * top_k;
    choice.chosen = rows.chosen + chosen, choice.x = rows.normed + at, choice.tokens = count;
    cuda::add_ffn_args args;
    args.routed = run_chosen(w, choice, rows_max, stream);
    if (rows.own_ready && first == 0) must(cudaStreamWaitEvent(stream, rows.own_ready));
    args.x = rows.x + at, args.own = rows.own ? rows.own + at : nullptr;
    args.slot_of = choice.slot_of, args.weights = rows.weights + chosen;
    args.tokens = count, args.hidden = config_.hidden_size, args.experts_per_token = top_k;
    must(cuda::add_ffn_rows(args, stream));
  }
}

void cuda_experts::add_sorted(const device_ffn& w, const device_rows& rows, cudaStream_t stream) {
  const int top_k = config_.experts_per_token;
  const int tokens_max = std::min(rows.rows, cuda_ffn::sorted_tokens_max(w, top_k));
  const auto pairs = static_cast<std::size_t>(tokens_max) * top_k;
  auto* segments = slots_.reserve(static_cast<std::size_t>(w.experts) + 1 + 2 * pairs);
  cuda::gate_permute_args choice;
  choice.route.top_k = top_k;
  choice.token_of = segments + w.experts + 1, choice.slot_of = choice.token_of + pairs;
  for (int first = 0; first < rows.rows; first += tokens_max) {
    const auto at = static_cast<std::size_t>(first) * config_.hidden_size,
               chosen = static_cast<std::size_t>(first) * top_k;
    choice.tokens = std::min(tokens_max, rows.rows - first);
    choice.chosen = rows.chosen + chosen, choice.x = rows.normed + at;
    cuda::add_ffn_args args;
    args.routed = ffn_.run_sorted(w, choice, rows_hint(w, choice.tokens, top_k), segments, stream);
    if (rows.own_ready && first == 0) must(cudaStreamWaitEvent(stream, rows.own_ready));
    args.x = rows.x + at, args.own = rows.own ? rows.own + at : nullptr;
    args.slot_of = choice.slot_of, args.weights = rows.weights + chosen;
    args.tokens = choice.tokens, args.hidden = config_.hidden_size, args.experts_per_token = top_k;
    must(cuda::add_ffn_rows(args, stream));
  }
}

const std::uint16_t* cuda_experts::run_chosen(const device_ffn& w, const cuda::gate_permute_args& choice, int rows_max,
                                              cudaStream_t stream) {
  const int top_k = choice.route.top_k, hint = rows_hint(w, choice.tokens, top_k);
  if (w.is_grouped()) return ffn_.run_chosen(w, choice, rows_max, hint, stream);
  must(cuda::place_rows(choice.chosen, choice.tokens, top_k, w.experts, rows_max, choice.rows, choice.token_of,
                        choice.slot_of, stream));
  return ffn_.run_routed(w, {choice.rows, choice.token_of, rows_max, hint}, choice.x, stream);
}

cuda_local_experts::cuda_local_experts(std::unique_ptr<cuda_experts> experts, const model::model_config& config)
    : experts_(experts.get()) {
  std::vector<std::unique_ptr<expert_engine>> shards;
  shards.push_back(std::move(experts));
  plain_ = std::make_unique<local_expert_client>(std::move(shards), moe::place_evenly(config.expert_count, 1, 1),
                                                 config.hidden_size, moe::element::bf16);
}

} // namespace troupe::exec
