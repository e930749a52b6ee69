#include "runtime/exec/cuda/cuda_model.hpp"

#include "kernels/cuda/mla_decode.hpp"
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
      rotary_(rope_config_of(config)),
      attention_(config_), far_{far_experts(config_), far_experts(config_)}, mapped_{mapped_rows(config_),
                                                                                     mapped_rows(config_)},
      pieces_(static_cast<std::size_t>(config_.layer_count) + 2) {}

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
  const auto launch = [this, what, &experts](const device_batch& batch, const std::optional<step_shape>& shape) {
    return what == step_shape::pass::forward ? launch_forward(batch, shape, experts)
                                             : launch_draft(batch, shape, experts);
  };
  int rows = 0;
  bool decodes = true;
  std::erase_if(sequences, [](const sequence_tokens& s) { return s.tokens.empty(); });
  for (const auto& s : sequences)
    rows += static_cast<int>(s.tokens.size()), decodes = decodes && s.tokens.size() <= decode_tokens_max;
  const auto* near = near_experts(experts);
  const bool replayed = decodes && rows <= graph_rows_max && (near || mapped_[0].possible(rows, experts));
  if (!replayed) return launch(send(sequences, wanted), std::nullopt);

  auto last = sequences.back(); // its last token is repeated: it writes the same bits to the same places once more
  const auto skipped = last.tokens.size() - 1;
  last.tokens = last.tokens.last(1), last.first_position += static_cast<std::int64_t>(skipped);
  last.first_source += static_cast<std::int32_t>(skipped);
  sequences.insert(sequences.end(), static_cast<std::size_t>(graph_rows(rows) - rows), last);
  if (!wanted.empty())
    wanted.resize(static_cast<std::size_t>(graph_rows(static_cast<int>(wanted.size()))), wanted.back());
  const auto batch = send(sequences, wanted);
  const step_shape shape{what, batch.rows, batch.wanted, batch.table_pages, near};
  if (!near) return launch(batch, shape);
  graphs_.run(shape, stream_, [&](cudaStream_t) { launch(batch, std::nullopt).value(); });
  return {};
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

} // namespace troupe::exec
