#include "runtime/exec/sim_engine.hpp"

#include "kernels/tensor_type.hpp"
#include "runtime/core/limits.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <string>

namespace troupe::exec {

namespace {

constexpr std::size_t hidden = sim_model::hidden_size;

/// splitmix64's finaliser over both words: order matters.
constexpr std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  auto z = a * 0x9E3779B97F4A7C15 + b + 0xD1B54A32D192ED03;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

constexpr std::uint64_t byte_of(std::uint64_t word, std::size_t i) { return (word >> (8 * i)) & 255; }

std::uint64_t embed(const sim_model& model, token_id token) {
  return mix(model.seed, static_cast<std::uint64_t>(token));
}

std::uint64_t latent(std::uint64_t x, std::int32_t layer, std::int32_t position) {
  return mix(mix(x, static_cast<std::uint64_t>(layer)), static_cast<std::uint64_t>(position));
}

std::uint64_t expert_output(const sim_model& model, std::int32_t layer, expert_index expert, std::uint64_t x) {
  return mix(mix(model.seed ^ 0xE, static_cast<std::uint64_t>(layer * model.expert_count + expert)), x);
}

/// The gate: the experts with the smallest hashes, ascending.
std::vector<expert_index> choose_experts(const sim_model& model, std::uint64_t x) {
  std::vector<expert_index> all(static_cast<std::size_t>(model.expert_count));
  for (std::size_t e = 0; e < all.size(); ++e) all[e] = static_cast<expert_index>(e);
  std::sort(all.begin(), all.end(), [&](auto a, auto b) {
    return mix(x, static_cast<std::uint64_t>(a)) < mix(x, static_cast<std::uint64_t>(b));
  });
  all.resize(static_cast<std::size_t>(model.experts_per_row));
  std::sort(all.begin(), all.end());
  return all;
}

float weight_of(std::uint64_t x, expert_index expert) {
  return static_cast<float>(1 + (mix(x ^ 0xA, static_cast<std::uint64_t>(expert)) & 3));
}

std::uint64_t absorb(std::uint64_t x, std::span<const float> sums) {
  for (const auto sum : sums) x = mix(x, std::bit_cast<std::uint32_t>(sum));
  return x;
}

/// The token that often follows `token`, so that drafts can be right.
token_id bigram(const sim_model& model, token_id token) {
  return static_cast<token_id>(mix(model.seed ^ 0xB, static_cast<std::uint64_t>(token)) %
                               static_cast<std::uint64_t>(model.vocab_size));
}

std::vector<float> logits_of(const sim_model& model, std::uint64_t state, token_id last) {
  std::vector<float> logits(static_cast<std::size_t>(model.vocab_size));
  for (std::size_t t = 0; t < logits.size(); ++t) logits[t] = static_cast<float>(mix(state, t) >> 40) * 0x1p-22f;
  if (state & 1) logits[static_cast<std::size_t>(bigram(model, last))] += 6;
  return logits;
}

} // namespace

sim_engine::sim_engine(const sim_model& model, std::int32_t page_count, bool can_draft) : model_(model) {
  const auto words = static_cast<std::size_t>(limits::page_tokens * (model.layer_count + 1));
  info_ = {.name = "sim",
           .vocab_size = model.vocab_size,
           .page_count = page_count,
           .page_bytes = words * sizeof(std::uint64_t),
           .can_draft = can_draft};
  entries_.resize(static_cast<std::size_t>(page_count) * words);
}

std::uint64_t& sim_engine::entry(std::span<const page_id> pages, std::int32_t position, std::int32_t layer) {
  const auto page = static_cast<std::size_t>(position / limits::page_tokens);
  invariant(page < pages.size(), "sim_engine: a position without a page");
  const auto slot =
      pages[page].value * std::size_t{limits::page_tokens} + static_cast<std::size_t>(position % limits::page_tokens);
  return entries_.at(slot * static_cast<std::size_t>(model_.layer_count + 1) + static_cast<std::size_t>(layer));
}

result<void> sim_engine::forward(std::span<const row_group> groups, expert_client& experts) {
  logits_.clear();
  std::vector<std::uint64_t> x;
  for (const auto& group : groups)
    for (const auto token : group.tokens) x.push_back(embed(model_, token));
  row_latents_.clear();

  for (std::int32_t layer = 0; layer < model_.layer_count; ++layer) {
    std::size_t row = 0;
    for (const auto& group : groups) {
      auto position = group.first_position;
      std::uint64_t digest = 0;
      for (std::int32_t p = 0; p < position; ++p) digest = mix(digest, entry(group.pages, p, layer));
      for (std::size_t i = 0; i < group.tokens.size(); ++i, ++row, ++position) {
        const auto written = entry(group.pages, position, layer) = latent(x[row], layer, position);
        if (layer == 0) row_latents_.push_back(written);
        digest = mix(digest, written);
        x[row] = mix(x[row], digest);
      }
    }

    moe::routing choice;
    choice.row_count = static_cast<std::int32_t>(x.size());
    choice.experts_per_row = model_.experts_per_row;
    std::vector<float> inputs;
    for (const auto state : x) {
      for (const auto expert : choose_experts(model_, state)) {
        choice.experts.push_back(expert);
        choice.weights.push_back(weight_of(state, expert));
      }
      for (std::size_t i = 0; i < hidden; ++i) inputs.push_back(static_cast<float>(byte_of(state, i)));
    }
    std::vector<float> sums(inputs.size(), 0.0f);
    TROUPE_TRY(experts.start(layer, choice, inputs));
    TROUPE_TRY(experts.finish(sums));
    for (std::size_t r = 0; r < x.size(); ++r) x[r] = absorb(x[r], std::span(sums).subspan(r * hidden, hidden));
  }

  std::size_t end = 0;
  for (const auto& group : groups) {
    end += group.tokens.size();
    const auto wanted = static_cast<std::size_t>(group.logit_rows);
    for (auto i = group.tokens.size() - wanted; i < group.tokens.size(); ++i)
      logits_.push_back(logits_of(model_, x[end - group.tokens.size() + i], group.tokens[i]));
  }
  return {};
}

std::span<const float> sim_engine::logits(std::int32_t i) const { return logits_.at(static_cast<std::size_t>(i)); }

result<std::vector<token_id>> sim_engine::draft(std::span<const draft_group> groups, expert_client&) {
  // The entry of position p ties p and p + 1 together; inside the sequence it can be checked against layer 0's entries.
  const auto link = [&](std::uint64_t here, token_id next, std::int32_t position) {
    return mix(here, latent(embed(model_, next), 0, position + 1));
  };
  std::vector<token_id> drafts;
  for (const auto& group : groups) {
    const auto count = static_cast<std::int32_t>(group.next_tokens.size());
    invariant(count > 0, "sim_engine: a draft group without rows");
    for (std::int32_t i = 0; i < count; ++i) {
      const auto position = group.first_position + i;
      invariant(row_latents_.at(static_cast<std::size_t>(group.first_row + i)) == entry(group.pages, position, 0),
                "sim_engine: this draft group names rows of somebody else");
      entry(group.pages, position, model_.layer_count) =
          link(entry(group.pages, position, 0), group.next_tokens[static_cast<std::size_t>(i)], position);
    }
    if (!group.wants_draft) {
      drafts.push_back(-1);
      continue;
    }
    bool stale = false;
    for (std::int32_t p = 0; p < group.first_position + count - 1; ++p)
      stale |= entry(group.pages, p, model_.layer_count) != mix(entry(group.pages, p, 0), entry(group.pages, p + 1, 0));
    stale_drafts_ += stale;
    drafts.push_back((bigram(model_, group.next_tokens.back()) + (stale ? 1 : 0)) % model_.vocab_size);
  }
  return drafts;
}

sim_expert_engine::sim_expert_engine(const sim_model& model, std::vector<expert_index> owned)
    : model_(model), owned_(std::move(owned)) {}

result<moe::shard_output> sim_expert_engine::run(const moe::shard_batch& batch) {
  const auto bad = [](std::string message) { return error{errc::bad_input, "sim_expert_engine: " + message}; };
  const auto element_bytes = moe::bytes_of(batch.type);
  const auto row_count = batch.inputs.size() / (hidden * element_bytes);
  if (batch.hidden_size != model_.hidden_size || batch.inputs.size() != row_count * hidden * element_bytes ||
      batch.rows.size() != batch.experts.size())
    return bad("sizes do not fit");
  if (batch.layer < 0 || batch.layer >= model_.layer_count)
    return bad("layer " + std::to_string(batch.layer) + " has no experts");

  const auto read = [&](std::size_t i) -> std::uint64_t {
    if (batch.type == moe::element::f32) {
      float value;
      std::memcpy(&value, batch.inputs.bytes().data() + 4 * i, 4);
      return static_cast<std::uint64_t>(value);
    }
    std::uint16_t bits;
    std::memcpy(&bits, batch.inputs.bytes().data() + 2 * i, 2);
    return static_cast<std::uint64_t>(kernels::bf16_to_float(bits));
  };
  moe::shard_output answer;
  answer.outputs = segment::allocate(batch.experts.size() * hidden * element_bytes);
  for (std::size_t pair = 0; pair < batch.experts.size(); ++pair) {
    const auto expert = batch.experts[pair];
    const auto row = static_cast<std::size_t>(batch.rows[pair]);
    if (!std::binary_search(owned_.begin(), owned_.end(), expert))
      return bad("expert " + std::to_string(expert) + " is not mine");
    if (batch.rows[pair] < 0 || row >= row_count) return bad("row " + std::to_string(row) + " does not exist");
    std::uint64_t x = 0;
    for (std::size_t i = 0; i < hidden; ++i) x |= read(row * hidden + i) << (8 * i);
    const auto output = expert_output(model_, batch.layer, expert, x);
    for (std::size_t i = 0; i < hidden; ++i) {
      const auto value = static_cast<float>(byte_of(output, i));
      const auto half = kernels::float_to_bf16(value);
      auto* to = answer.outputs.writable().data() + (pair * hidden + i) * element_bytes;
      std::memcpy(to, batch.type == moe::element::f32 ? static_cast<const void*>(&value) : &half, element_bytes);
    }
  }
  return answer;
}

std::vector<token_id> sim_oracle(const sim_model& model, const generation_request& request,
                                 const sampler_options& sampling) {
  sampler chooser(sampling);
  auto tokens = request.prompt;
  const auto prompt_size = tokens.size();
  tokens.insert(tokens.end(), request.output.begin(), request.output.end());
  // The chain of one sequence: per layer the digest of all positions so far.
  std::vector<std::uint64_t> digests(static_cast<std::size_t>(model.layer_count), 0);
  for (std::size_t p = 0; p < tokens.size(); ++p) {
    auto x = embed(model, tokens[p]);
    for (std::int32_t layer = 0; layer < model.layer_count; ++layer) {
      auto& digest = digests[static_cast<std::size_t>(layer)];
      digest = mix(digest, latent(x, layer, static_cast<std::int32_t>(p)));
      x = mix(x, digest);
      std::array<float, hidden> sums{};
      for (const auto expert : choose_experts(model, x))
        for (std::size_t i = 0; i < hidden; ++i)
          sums[i] += weight_of(x, expert) * static_cast<float>(byte_of(expert_output(model, layer, expert, x), i));
      x = absorb(x, sums);
    }
    if (p + 1 < tokens.size() || request.sampling.max_tokens == 0) continue;
    const auto logits = logits_of(model, x, tokens[p]);
    tokens.push_back(
        chooser.sample(logits, request.sampling, tokens, static_cast<std::int32_t>(prompt_size)).value().token);
    const auto output_size = static_cast<std::int32_t>(tokens.size() - prompt_size);
    if (chooser.finish_of(tokens.back(), request.sampling, output_size) != finish_reason::none) break;
  }
  return {tokens.begin() + static_cast<std::ptrdiff_t>(prompt_size), tokens.end()};
}

} // namespace troupe::exec
