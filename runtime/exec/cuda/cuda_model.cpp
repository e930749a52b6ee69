#include "runtime/exec/cuda/cuda_model.hpp"

#include "kernels/cuda/mla_decode.hpp"
#include "kernels/cuda/rows.hpp"
#include "runtime/core/limits.hpp"
#include "runtime/exec/cpu_weights.hpp"

#include <algorithm>

namespace troupe::exec {
namespace {

/// mla_decode adds up at most 512 parts of a row, of 16 pages each where there are many.
constexpr std::int64_t positions_max = std::int64_t{512} * 16 * limits::page_tokens;

/// Tokens of one sequence in a step that counts as decoding: the last one and its drafts.
constexpr std::size_t decode_tokens_max = 4;

cuda::route_config route_config_of(const model::model_config& config) {
  const auto gate = gate_config_of(config);
  cuda::route_config c;
  c.experts = config.expert_count, c.top_k = config.experts_per_token;
  c.groups = config.group_count, c.groups_kept = config.topk_group;
  c.softmax = gate.scoring == kernels::gate_scoring::softmax;
  c.limited = gate.method != kernels::gate_method::greedy && gate.groups > 1;
  c.pair_scores = gate.method == kernels::gate_method::noaux_tc;
  c.normalise = gate.normalise, c.scaling = gate.scaling;
  return c;
}

} // namespace

cuda_model::cuda_model(const cuda_device& device, const model::model_config& config, cuda_weights weights)
    : config_(config), device_(device), weights_(std::move(weights)), gate_(route_config_of(config)),
      rotary_(rope_config_of(config)), attention_(config_), far_{far_experts(config_), far_experts(config_)} {}

result<std::unique_ptr<cuda_model>> cuda_model::load(const cuda_device& device, weight_source& from,
                                                     const model::model_config& config,
                                                     const device_engine_options& options) {
  device.enter();
  TROUPE_ASSIGN(auto weights, load_cuda_weights(from, config, options.deterministic));
  std::unique_ptr<cuda_model> self(new cuda_model(device, config, std::move(weights)));
  TROUPE_TRY(self->make_cache(options));
  return self;
}

result<void> cuda_model::make_cache(const device_engine_options& options) {
  TROUPE_ASSIGN(cache_format_, choose_cache(options.cache, config_));
  const auto layers = static_cast<std::size_t>(config_.layer_count) + (weights_.mtp ? 1 : 0);
  info_ = {.name = device_.name + name_suffix(cache_format_),
           .vocab_size = config_.vocab_size,
           .page_count = options.page_count,
           .page_bytes = layers * cuda::mla_page * static_cast<std::size_t>(cuda::mla_entry_bytes(cache_format_)),
           .can_draft = weights_.mtp.has_value()};
  if (info_.page_count == 0) {
    std::size_t free = 0, total = 0;
    must(cudaMemGetInfo(&free, &total));
    const auto fitting = static_cast<double>(free) * options.kv_cache_ratio / static_cast<double>(info_.page_bytes);
    info_.page_count = static_cast<std::int32_t>(std::min<double>(fitting, options.page_count_max));
    if (info_.page_count < 1) return error{errc::overloaded, "no device memory for one page of latent cache"};
  }
  const auto bytes = static_cast<std::size_t>(info_.page_count) * info_.page_bytes;
  TROUPE_ASSIGN(cache_, device_memory::allocate(bytes));
  must(cudaMemset(cache_.as<void>(), 0, bytes)); // attention multiplies what it masks by zero: it must be finite
  must(cudaDeviceSynchronize());
  return {};
}

result<void> cuda_model::check(std::span<const token_id> tokens, std::int64_t first_position,
                               std::span<const page_id> pages) const {
  const auto rows = static_cast<std::int64_t>(tokens.size());
  if (first_position < 0 || first_position + rows > static_cast<std::int64_t>(pages.size()) * limits::page_tokens)
    return error{errc::bad_input, "rows " + std::to_string(first_position) + " to " +
                                      std::to_string(first_position + rows) + " are outside of their pages"};
  if (first_position + rows > positions_max)
    return error{errc::bad_input, "position " + std::to_string(first_position + rows) +
                                      " is beyond what one GPU attends to, " + std::to_string(positions_max)};
  for (const auto page : pages)
    if (page.value >= static_cast<std::uint32_t>(info_.page_count))
      return error{errc::bad_input, "page " + std::to_string(page.value) + " is not in the pool"};
  for (const auto token : tokens)
    if (token < 0 || token >= config_.vocab_size)
      return error{errc::bad_input, "token " + std::to_string(token) + " is not in the vocabulary"};
  return {};
}

device_batch cuda_model::send(std::span<const sequence_tokens> sequences, std::span<const std::int32_t> wanted) {
  const int pairs = config_.qk_rope_head_dim / 2;
  const batch_layout layout(sequences, static_cast<int>(wanted.size()), pairs);
  auto* host = host_batch_.reserve(layout.words);
  fill_batch(
      layout, sequences, wanted, pairs,
      [this](std::int64_t position, float* cos, float* sin) { rotary_.angles(position, cos, sin); }, host);
  auto* words = batch_.reserve(layout.words);
  must(cudaMemcpyAsync(words, host, layout.words * sizeof(std::uint32_t), cudaMemcpyHostToDevice, stream_));
  return {layout, words};
}

result<void> cuda_model::forward(std::span<const row_group> groups, expert_client& experts) {
  device_.enter();
  std::vector<sequence_tokens> sequences;
  std::vector<std::int32_t> wanted;
  std::int32_t rows = 0;
  for (const auto& g : groups) {
    TROUPE_TRY(check(g.tokens, g.first_position, g.pages));
    const auto count = static_cast<std::int32_t>(g.tokens.size());
    invariant(g.logit_rows >= 0 && g.logit_rows <= count, "logits are wanted for rows of the group");
    sequences.push_back({g.tokens, g.first_position, g.pages});
    rows += count;
    for (auto row = rows - g.logit_rows; row < rows; ++row) wanted.push_back(row);
  }
  hidden_rows_ = 0;
  if (rows == 0) return {};
  logits_.renew(wanted.size());
  TROUPE_TRY(run(step_shape::pass::forward, std::move(sequences), std::move(wanted), experts));
  hidden_rows_ = rows;
  stream_.wait();
  return {};
}

std::vector<result<sampled_token>> cuda_model::sample(std::span<const sample_row> rows, sampler& how) {
  if (rows.empty()) return {};
  device_.enter();
  const auto tokens = sampler_.run(logits_.on_device(), config_.vocab_size, rows, how, stream_);
  std::vector<result<sampled_token>> chosen;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (tokens[i] >= 0)
      chosen.push_back(sampled_token{.token = tokens[i]});
    else
      for (auto& c : engine::sample(rows.subspan(i, 1), how)) chosen.push_back(std::move(c));
  }
  return chosen;
}

cuda_experts* cuda_model::near_experts(expert_client& experts) const {
  auto* local = dynamic_cast<cuda_local_experts*>(&experts);
  return local && local->on_device().device_index() == device_.index ? &local->on_device() : nullptr;
}

result<void> cuda_model::run(step_shape::pass what, std::vector<sequence_tokens> sequences,
                             std::vector<std::int32_t> wanted, expert_client& experts) {
  const auto launch = [this, what, &experts](const device_batch& batch) {
    return what == step_shape::pass::forward ? launch_forward(batch, experts) : launch_draft(batch, experts);
  };
  int rows = 0;
  bool decodes = true;
  std::erase_if(sequences, [](const sequence_tokens& s) { return s.tokens.empty(); });
  for (const auto& s : sequences)
    rows += static_cast<int>(s.tokens.size()), decodes = decodes && s.tokens.size() <= decode_tokens_max;
  const auto* near = near_experts(experts);
  if (!near || !decodes || rows > graph_rows_max) return launch(send(sequences, wanted));

  auto last = sequences.back(); // its last token is repeated: it writes the same bits to the same places once more
  const auto skipped = last.tokens.size() - 1;
  last.tokens = last.tokens.last(1), last.first_position += static_cast<std::int64_t>(skipped);
  last.first_source += static_cast<std::int32_t>(skipped);
  sequences.insert(sequences.end(), static_cast<std::size_t>(graph_rows(rows) - rows), last);
  if (!wanted.empty())
    wanted.resize(static_cast<std::size_t>(graph_rows(static_cast<int>(wanted.size()))), wanted.back());
  const auto batch = send(sequences, wanted);
  graphs_.run({what, batch.rows, batch.wanted, batch.table_pages, near}, stream_,
              [&](cudaStream_t) { launch(batch).value(); });
  return {};
}

std::vector<cuda_model::pass> cuda_model::cut(const device_batch& batch, expert_client& experts) {
  for (auto& far : far_) far.forget();
  const auto least = near_experts(experts) ? std::nullopt : experts.overlap_rows_min();
  auto* const x = x_.get();
  if (!least || batch.rows < std::max(*least, 2)) return {{batch, x, &far_[0]}};
  const int half = batch.rows / 2, pairs = config_.qk_rope_head_dim / 2;
  return {
      {batch.part(0, half, pairs), x, &far_[0]},
      {batch.part(half, batch.rows - half, pairs), x + static_cast<std::size_t>(half) * config_.hidden_size, &far_[1]}};
}

result<void> cuda_model::launch_forward(const device_batch& batch, expert_client& experts) {
  const auto size = static_cast<std::size_t>(batch.rows) * config_.hidden_size;
  auto* x = x_.reserve(size);
  must(cuda::embed_rows(weights_.embedding.data.as<std::uint16_t>(), batch.ids, batch.rows, config_.hidden_size, x,
                        stream_));
  const auto passes = cut(batch, experts);
  for (layer_index layer = 0; layer < config_.layer_count; ++layer)
    for (const auto& half : passes) { // one computes attention while the other's rows are away
      TROUPE_TRY(half.far->finish(experts, stream_));
      TROUPE_TRY(run_layer(weights_.layers[static_cast<std::size_t>(layer)], layer, half, experts));
    }
  for (const auto& half : passes) TROUPE_TRY(half.far->finish(experts, stream_));

  if (weights_.mtp) { // what drafts are made from
    cuda::rmsnorm_args last;
    last.x = x, last.x_pitch = last.width = config_.hidden_size, last.weight = weights_.norm.as<float>();
    last.tokens = batch.rows, last.eps = config_.rms_norm_eps, last.y_f32 = hidden_.reserve(size);
    must(cuda::rmsnorm(last, stream_));
  }
  project_head(x, batch, weights_.norm, logits_);
  return {};
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
  const auto layer_bytes =
      static_cast<std::size_t>(info_.page_count) * cuda::mla_page * cuda::mla_entry_bytes(cache_format_);
  const layer_cache cache{cache_.as<std::uint8_t>() + layer_bytes * static_cast<std::size_t>(layer), info_.page_count,
                          cache_format_};
  attention_.run(w, of.batch, cache, of.x, stream_);
  const auto normed = ffn_input_.run({of.x, config_.hidden_size}, of.batch.rows, config_.hidden_size,
                                     w.post_attention_norm, config_.rms_norm_eps, stream_);
  if (w.gate) return run_mixture(w, layer, of, normed, experts);
  cuda::add_ffn_args args;
  args.x = of.x, args.own = ffn_.run_own(w.ffn, of.batch.rows, normed, stream_);
  args.tokens = of.batch.rows, args.hidden = config_.hidden_size;
  must(cuda::add_ffn_rows(args, stream_));
  return {};
}

result<void> cuda_model::run_mixture(const cuda_layer_weights& w, layer_index layer, const pass& of,
                                     const std::uint16_t* normed, expert_client& experts) {
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
  if (auto* near = near_experts(experts)) return near->add(layer, rows, stream_), result<void>{};
  return of.far->start(layer, rows, experts, stream_);
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

result<std::vector<token_id>> cuda_model::draft(std::span<const draft_group> groups, expert_client& experts) {
  if (!weights_.mtp) return error{errc::unsupported, "the checkpoint has no MTP module"};
  device_.enter();
  std::vector<sequence_tokens> sequences;
  std::vector<std::int32_t> wanted;
  std::int32_t rows = 0;
  for (const auto& g : groups) {
    TROUPE_TRY(check(g.next_tokens, g.first_position, g.pages));
    const auto count = static_cast<std::int32_t>(g.next_tokens.size());
    invariant(g.first_row >= 0 && g.first_row + count <= hidden_rows_, "a draft is made from rows of the last forward");
    invariant(count > 0 || !g.wants_draft, "a draft follows a row");
    sequences.push_back({g.next_tokens, g.first_position, g.pages, g.first_row});
    rows += count;
    if (g.wants_draft) wanted.push_back(rows - 1);
  }
  std::vector<token_id> drafts(groups.size(), -1);
  if (rows == 0) return drafts;
  draft_logits_.renew(wanted.size());
  TROUPE_TRY(run(step_shape::pass::draft, std::move(sequences), std::move(wanted), experts));
  std::int32_t next = 0;
  for (std::size_t i = 0; i < groups.size(); ++i)
    if (groups[i].wants_draft) drafts[i] = draft_logits_.best(device_, next++, stream_);
  stream_.wait();
  return drafts;
}

result<void> cuda_model::launch_draft(const device_batch& batch, expert_client& experts) {
  mix_draft_input(batch);
  const pass all{batch, x_.get(), &far_[0]};
  TROUPE_TRY(run_layer(weights_.mtp->layer, config_.layer_count, all, experts));
  TROUPE_TRY(all.far->finish(experts, stream_));
  project_head(x_.get(), batch, weights_.mtp->head_norm, draft_logits_);
  return {};
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
