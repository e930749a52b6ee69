#include "runtime/exec/cpu_model.hpp"

#include "kernels/cpu/elementwise.hpp"
#include "runtime/exec/cache_dtype.hpp"

#include <algorithm>

namespace troupe::exec {
namespace {

std::string name_of(const kernels::target& t, kernels::cache_format format) {
  return "cpu/" + std::string(kernels::name_of(t.set)) +
         (t.compute == kernels::compute_type::float32 ? "/float32" : "/bfloat16") + name_suffix(format);
}

} // namespace

cpu_model::cpu_model(const model::model_config& config, const cpu_device& device, cpu_weights weights,
                     std::int32_t page_count, kernels::cache_format format)
    : config_(config), device_(device), weights_(std::move(weights)),
      cache_(config.layer_count + (weights_.mtp ? 1 : 0), page_count, mla_shape_of(config),
             {device.target.compute, format}),
      rotary_(rope_config_of(config)), attention_(config_, device, format), ffn_(config_, device),
      head_input_(device.target) {
  const auto layers = config.layer_count + (weights_.mtp ? 1 : 0);
  info_ = {.name = name_of(device.target, format),
           .vocab_size = config.vocab_size,
           .page_count = page_count,
           .page_bytes = static_cast<std::size_t>(
               cpu_cache::page_bytes(layers, mla_shape_of(config), {device.target.compute, format})),
           .can_draft = weights_.mtp.has_value()};
}

std::int64_t cpu_model::step_bytes() const {
  std::int64_t bytes = weights_.head.bytes();
  for (const auto& layer : weights_.layers) bytes += layer.bytes();
  return bytes;
}

result<void> cpu_model::check(std::span<const token_id> tokens, std::int64_t first_position,
                              std::span<const page_id> pages) const {
  const auto rows = static_cast<std::int64_t>(tokens.size());
  constexpr auto page_tokens = kernels::cache_page_tokens;
  if (first_position < 0 || first_position + rows > static_cast<std::int64_t>(pages.size()) * page_tokens)
    return error{errc::bad_input, "rows " + std::to_string(first_position) + " to " +
                                      std::to_string(first_position + rows) + " are outside of their pages"};
  for (const auto page : pages)
    if (page.value >= static_cast<std::uint32_t>(info_.page_count))
      return error{errc::bad_input, "page " + std::to_string(page.value) + " is not in the pool"};
  for (const auto token : tokens)
    if (token < 0 || token >= config_.vocab_size)
      return error{errc::bad_input, "token " + std::to_string(token) + " is not in the vocabulary"};
  return {};
}

result<void> cpu_model::forward(std::span<const row_group> groups, expert_client& experts) {
  std::vector<sequence_rows> sequences;
  std::vector<std::int32_t> wanted;
  std::int32_t rows = 0;
  for (const auto& g : groups) {
    TROUPE_TRY(check(g.tokens, g.first_position, g.pages));
    const auto count = static_cast<std::int32_t>(g.tokens.size());
    invariant(g.logit_rows >= 0 && g.logit_rows <= count, "logits are wanted for rows of the group");
    sequences.push_back({g.first_position, count, g.pages});
    rows += count;
    for (auto row = rows - g.logit_rows; row < rows; ++row) wanted.push_back(row);
  }
  auto passes = cut(sequences, rows, experts);
  const std::int64_t hidden = config_.hidden_size;
  x_.resize(static_cast<std::size_t>(rows * hidden));
  auto* row = x_.data();
  for (const auto& g : groups)
    for (const auto token : g.tokens) embed(token, row), row += hidden;

  const auto& layers = weights_.layers;
  for (layer_index layer = 0; layer < config_.layer_count; ++layer)
    for (auto& p : passes) {
      if (layer > 0) TROUPE_TRY(finish_layer(layers[static_cast<std::size_t>(layer) - 1], p, experts));
      TROUPE_TRY(start_layer(layers[static_cast<std::size_t>(layer)], layer, p, experts));
    }
  for (const auto& p : passes) TROUPE_TRY(finish_layer(layers.back(), p, experts));

  hidden_.resize(x_.size());
  norm_rows(x_.data(), weights_.norm, rows, hidden_.data());
  project_head(hidden_.data(), wanted, logits_);
  return {};
}

result<std::vector<token_id>> cpu_model::draft(std::span<const draft_group> groups, expert_client& experts) {
  if (!weights_.mtp) return error{errc::unsupported, "the checkpoint has no MTP module"};
  std::vector<sequence_rows> sequences;
  std::vector<std::int32_t> wanted;
  std::int32_t rows = 0;
  for (const auto& g : groups) {
    TROUPE_TRY(check(g.next_tokens, g.first_position, g.pages));
    const auto count = static_cast<std::int32_t>(g.next_tokens.size());
    invariant(static_cast<std::size_t>(g.first_row + count) * config_.hidden_size <= hidden_.size(),
              "a draft is made from rows of the last forward");
    invariant(count > 0 || !g.wants_draft, "a draft follows a row");
    sequences.push_back({g.first_position, count, g.pages});
    rows += count;
    if (g.wants_draft) wanted.push_back(rows - 1);
  }
  pass all{cpu_batch(sequences, rotary_, config_.qk_rope_head_dim), 0};
  mix_draft_input(groups, rows);
  TROUPE_TRY(start_layer(weights_.mtp->layer, config_.layer_count, all, experts));
  TROUPE_TRY(finish_layer(weights_.mtp->layer, all, experts));
  norm_rows(x_.data(), weights_.mtp->head_norm, rows, normed_.data());
  project_head(normed_.data(), wanted, draft_logits_);

  std::vector<token_id> drafts;
  std::int32_t next = 0;
  for (const auto& g : groups) {
    if (!g.wants_draft) {
      drafts.push_back(-1);
      continue;
    }
    const auto logits = draft_logits(next++);
    drafts.push_back(static_cast<token_id>(std::max_element(logits.begin(), logits.end()) - logits.begin()));
  }
  return drafts;
}

/// x = [ norm(embedding of the next token) | norm(hidden state) ] eh_projᵀ
void cpu_model::mix_draft_input(std::span<const draft_group> groups, std::int64_t rows) {
  const std::int64_t hidden = config_.hidden_size;
  const auto& mtp = *weights_.mtp;
  normed_.resize(static_cast<std::size_t>(rows * 2 * hidden));
  auto* to = normed_.data();
  for (const auto& g : groups)
    for (std::size_t i = 0; i < g.next_tokens.size(); ++i, to += 2 * hidden) {
      embed(g.next_tokens[i], to);
      kernels::rmsnorm(to, mtp.enorm.data(), hidden, config_.rms_norm_eps, to);
      const auto* state = hidden_.data() + (g.first_row + static_cast<std::int64_t>(i)) * hidden;
      kernels::rmsnorm(state, mtp.hnorm.data(), hidden, config_.rms_norm_eps, to + hidden);
    }
  x_.resize(static_cast<std::size_t>(rows * hidden));
  mtp.eh_proj.multiply(*device_.pool, normed_.data(), 2 * hidden, rows, x_.data(), hidden);
}

/// Two halves where the experts work elsewhere and there are rows enough, else all rows at once.
std::vector<cpu_model::pass> cpu_model::cut(std::span<const sequence_rows> sequences, std::int64_t rows,
                                            const expert_client& experts) const {
  const auto least = experts.overlap_rows_min();
  const auto first_half = least && rows >= std::max(*least, 2) ? rows / 2 : rows;
  std::vector<pass> passes;
  for (std::int64_t first = 0; first < rows; first += first_half) {
    const auto count = first == 0 ? first_half : rows - first;
    passes.push_back({cpu_batch(exec::rows_of(sequences, first, count), rotary_, config_.qk_rope_head_dim), first});
    if (first > 0) break;
  }
  return passes;
}

std::span<float> cpu_model::rows_of(std::vector<float>& all, const pass& of) const {
  const auto hidden = static_cast<std::size_t>(config_.hidden_size);
  all.resize(x_.size());
  return std::span(all).subspan(static_cast<std::size_t>(of.first_row) * hidden,
                                static_cast<std::size_t>(of.batch.rows()) * hidden);
}

/// x += MLA(norm(x)); out = FFN(norm(x)) but for the routed experts
result<void> cpu_model::start_layer(const layer_weights& w, layer_index layer, pass& of, expert_client& experts) {
  const auto rows = of.batch.rows();
  const auto x = rows_of(x_, of), normed = rows_of(normed_, of), out = rows_of(out_, of);
  norm_rows(x.data(), w.input_norm, rows, normed.data());
  attention_.run(w.attention, of.batch, normed.data(), cache_.layer(layer), out.data());
  add_to_x(of);

  norm_rows(x.data(), w.post_attention_norm, rows, normed.data());
  return ffn_.start(w, layer, rows, normed, out, of.choice, experts);
}

/// x += out with the routed experts
result<void> cpu_model::finish_layer(const layer_weights& w, const pass& of, expert_client& experts) {
  TROUPE_TRY(cpu_ffn::finish(w, rows_of(out_, of), experts));
  add_to_x(of);
  return {};
}

void cpu_model::add_to_x(const pass& of) {
  const std::int64_t hidden = config_.hidden_size;
  const auto x = rows_of(x_, of), out = rows_of(out_, of);
  device_.pool->parallel_for(
      of.batch.rows(), [&](std::int64_t r) { kernels::add(out.data() + r * hidden, hidden, x.data() + r * hidden); });
}

void cpu_model::norm_rows(const float* x, const std::vector<float>& weight, std::int64_t rows, float* y) {
  const std::int64_t hidden = config_.hidden_size;
  device_.pool->parallel_for(rows, [&](std::int64_t r) {
    kernels::rmsnorm(x + r * hidden, weight.data(), hidden, config_.rms_norm_eps, y + r * hidden);
  });
}

void cpu_model::embed(token_id token, float* row) const {
  kernels::dequantize_row(weights_.embedding.view, token, row);
}

void cpu_model::project_head(const float* hidden, const std::vector<std::int32_t>& rows, std::vector<float>& logits) {
  logits.resize(rows.size() * static_cast<std::size_t>(config_.vocab_size));
  head_input_.gather(kernels::row_view::of(hidden, config_.hidden_size), rows, config_.hidden_size);
  weights_.head.multiply(*device_.pool, head_input_, logits.data(), config_.vocab_size);
}

} // namespace troupe::exec
