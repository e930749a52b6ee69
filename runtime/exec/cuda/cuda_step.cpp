// What cuda_model launches in one step, and what it says to experts elsewhere in between.
#include "kernels/cuda/mla_decode.hpp"
#include "kernels/cuda/rows.hpp"
#include "runtime/exec/cuda/cuda_model.hpp"

#include <algorithm>

namespace troupe::exec {

std::vector<cuda_model::pass> cuda_model::cut(const device_batch& batch, const std::optional<step_shape>& shape,
                                              std::optional<std::int32_t> least, expert_client& experts) {
  for (auto& far : far_) far.forget();
  bool maps = true;
  for (auto& mapped : mapped_) mapped.forget(), maps = maps && mapped.possible(batch.rows, experts);
  const auto make = [&](std::size_t place, int part, const device_batch& rows, float* x) {
    pass p{rows, x, &far_[place], maps ? &mapped_[place] : nullptr, maps ? shape : std::nullopt};
    if (p.piece) p.piece->part = part;
    return p;
  };
  auto* const x = x_.get();
  if (!least || batch.rows < std::max(*least, 2)) return {make(0, 0, batch, x)};
  const int half = batch.rows / 2, pairs = config_.qk_rope_head_dim / 2;
  return {make(0, 1, batch.part(0, half, pairs), x), make(1, 2, batch.part(half, batch.rows - half, pairs),
                                                          x + static_cast<std::size_t>(half) * config_.hidden_size)};
}

void cuda_model::replay(const std::optional<step_shape>& piece, layer_index layer,
                        const step_graphs::launches& launch) {
  if (!piece) return launch(stream_);
  auto shape = *piece;
  shape.layer = layer;
  pieces_.run(shape, stream_, launch);
}

result<void> cuda_model::launch_forward(const device_batch& batch, const std::optional<step_shape>& shape,
                                        expert_client& experts) {
  const auto size = static_cast<std::size_t>(batch.rows) * config_.hidden_size;
  auto* x = x_.reserve(size);
  must(cuda::embed_rows(weights_.embedding.data.as<std::uint16_t>(), batch.ids, batch.rows, config_.hidden_size, x,
                        stream_));
  const auto least = near_experts(experts) ? std::nullopt : experts.overlap_rows_min();
  const auto passes = cut(batch, shape, least, experts);
  for (layer_index layer = 0; layer < config_.layer_count; ++layer)
    for (const auto& half : passes) // one computes attention while the other's rows are away
      TROUPE_TRY(run_layer(weights_.layers[static_cast<std::size_t>(layer)], layer, half, experts));

  return run_end(passes, experts, [&](cudaStream_t) {
    if (weights_.mtp) { // what drafts are made from
      cuda::rmsnorm_args last;
      last.x = x, last.x_pitch = last.width = config_.hidden_size, last.weight = weights_.norm.as<float>();
      last.tokens = batch.rows, last.eps = config_.rms_norm_eps, last.y_f32 = hidden_.reserve(size);
      must(cuda::rmsnorm(last, stream_));
    }
    project_head(x, batch, weights_.norm, logits_);
  });
}

result<void> cuda_model::run_end(std::span<const pass> passes, expert_client& experts,
                                 const step_graphs::launches& launch) {
  std::vector<const pass*> mapped;
  for (const auto& p : passes) {
    TROUPE_ASSIGN(const bool adds, collect(p, experts));
    if (adds) mapped.push_back(&p);
  }
  auto piece = passes.front().piece;
  if (piece) piece->part = static_cast<int>(passes.size());
  replay(piece, config_.layer_count + 1, [&](cudaStream_t stream) { // behind the MTP module's layer
    for (const auto* p : mapped) p->mapped->add(p->x, p->batch.rows, stream_);
    launch(stream);
  });
  return {};
}

result<bool> cuda_model::collect(const pass& of, expert_client& experts) {
  if (of.mapped) return of.mapped->wait(experts, stream_);
  TROUPE_TRY(of.far->finish(experts, stream_));
  return false;
}

/// logits = norm(x of the wanted rows) headᵀ
void cuda_model::project_head(const float* x, const device_batch& batch, const device_memory& norm, device_logits& to) {
  if (batch.wanted == 0) return;
  const auto normed = head_input_.run({x, config_.hidden_size, batch.wanted_rows}, batch.wanted, config_.hidden_size,
                                      norm, config_.rms_norm_eps, stream_);
  auto* logits = to.reserve(static_cast<std::size_t>(batch.wanted), static_cast<std::size_t>(config_.vocab_size));
  products_.multiply(weights_.head, normed, batch.wanted, logits, cuda::linear_out::f32, nullptr, stream_);
}

result<void> cuda_model::run_layer(const cuda_layer_weights& w, layer_index layer, const pass& of,
                                   expert_client& experts) {
  auto* const near = near_experts(experts);
  TROUPE_ASSIGN(const bool adds, collect(of, experts));
  device_rows rows;
  replay(of.piece, layer, [&](cudaStream_t) {
    if (adds) of.mapped->add(of.x, of.batch.rows, stream_);
    rows = launch_layer(w, layer, of, near);
  });
  if (!w.gate || near) return {};
  return of.mapped ? of.mapped->name(layer, of.batch.rows, experts, stream_)
                   : of.far->start(layer, rows, experts, stream_);
}

/// The rows that experts elsewhere are to be asked for, of a MoE layer.
device_rows cuda_model::launch_layer(const cuda_layer_weights& w, layer_index layer, const pass& of,
                                     cuda_experts* near) {
  const auto layer_bytes =
      static_cast<std::size_t>(info_.page_count) * cuda::mla_page * cuda::mla_entry_bytes(cache_format_);
  const layer_cache cache{cache_.as<std::uint8_t>() + layer_bytes * static_cast<std::size_t>(layer), info_.page_count,
                          cache_format_};
  attention_.run(w, of.batch, cache, of.x, stream_);
  const auto normed = ffn_input_.run({of.x, config_.hidden_size}, of.batch.rows, config_.hidden_size,
                                     w.post_attention_norm, config_.rms_norm_eps, stream_);
  if (w.gate) return launch_mixture(w, layer, of, normed, near);
  cuda::add_ffn_args args;
  args.x = of.x, args.own = ffn_.run_own(w.ffn, of.batch.rows, normed, stream_);
  args.tokens = of.batch.rows, args.hidden = config_.hidden_size;
  must(cuda::add_ffn_rows(args, stream_));
  return {};
}

device_rows cuda_model::launch_mixture(const cuda_layer_weights& w, layer_index layer, const pass& of,
                                       const std::uint16_t* normed, cuda_experts* near) {
  const auto choices = static_cast<std::size_t>(of.batch.rows) * config_.experts_per_token;
  device_rows rows;
  rows.normed = normed, rows.x = of.x, rows.rows = of.batch.rows;
  rows.batch_invariant = weights_.head.batch_invariant;
  rows.chosen = chosen_.reserve(choices), rows.weights = weights_of_choice_.reserve(choices);
  if (w.ffn.experts > 0) must(cudaEventRecord(normed_, stream_));
  choose_experts(w, rows);
  if (w.ffn.experts > 0) { // beside the gate, whose kernels are short and small
    must(cudaStreamWaitEvent(side_, normed_));
    rows.own = ffn_.run_own(w.ffn, of.batch.rows, normed, side_);
    must(cudaEventRecord(own_ready_, side_));
    rows.own_ready = own_ready_;
  }
  if (near) near->add(layer, rows, stream_);
  if (of.mapped) of.mapped->keep(rows, stream_);
  return rows;
}

void cuda_model::choose_experts(const cuda_layer_weights& w, const device_rows& rows) {
  if (gate_.experts > cuda::gate_experts_max || cuda::current_path() == cuda::kernel_path::plain)
    return must(cuda::route_rows(gate_, rows.normed, w.gate->data.as<std::uint16_t>(), w.correction.as<float>(),
                                 rows.rows, config_.hidden_size, rows.chosen, rows.weights, stream_));
  auto* logits = gate_logits_.reserve(static_cast<std::size_t>(rows.rows) * gate_.experts);
  products_.multiply(*w.gate, rows.normed, rows.rows, logits, cuda::linear_out::f32, nullptr, stream_);
  cuda::gate_permute_args args;
  args.route = gate_, args.logits = logits, args.bias = w.correction.as<float>(), args.tokens = rows.rows;
  args.chosen = rows.chosen, args.weights = rows.weights;
  must(cuda::gate_rows(args, stream_));
}

result<void> cuda_model::launch_draft(const device_batch& batch, const std::optional<step_shape>& shape,
                                      expert_client& experts) {
  mix_draft_input(batch);
  const auto all = cut(batch, shape, std::nullopt, experts);
  TROUPE_TRY(run_layer(weights_.mtp->layer, config_.layer_count, all.front(), experts));
  return run_end(all, experts,
                 [&](cudaStream_t) { project_head(x_.get(), batch, weights_.mtp->head_norm, draft_logits_); });
}

/// x = [ norm(embedding of the next token) | norm(hidden state) ] eh_projᵀ
void cuda_model::mix_draft_input(const device_batch& batch) {
  const auto hidden = static_cast<std::size_t>(config_.hidden_size), rows = static_cast<std::size_t>(batch.rows);
  const auto& mtp = *weights_.mtp;
  auto* embedded = embedded_.reserve(rows * hidden);
  auto* mixed = mixed_.reserve(rows * 2 * hidden);
  must(cuda::embed_rows(weights_.embedding.data.as<std::uint16_t>(), batch.ids, batch.rows, config_.hidden_size,
                        embedded, stream_));
  cuda::rmsnorm_args norm;
  norm.x_pitch = norm.width = config_.hidden_size, norm.y_pitch = 2 * norm.width, norm.eps = config_.rms_norm_eps;
  norm.x = embedded, norm.weight = mtp.enorm.as<float>(), norm.y = mixed, norm.tokens = batch.rows;
  must(cuda::rmsnorm(norm, stream_));
  norm.x = hidden_.get(), norm.row_of = batch.sources, norm.weight = mtp.hnorm.as<float>(), norm.y = mixed + hidden;
  must(cuda::rmsnorm(norm, stream_));
  products_.multiply(mtp.eh_proj, mixed, batch.rows, x_.reserve(rows * hidden), cuda::linear_out::f32, nullptr,
                     stream_);
}

} // namespace troupe::exec
