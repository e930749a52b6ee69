// A CPU engine with its experts in this process, and sequences of one request each over pages of their own.
#pragma once

#include "runtime/exec/cpu_engine.hpp"
#include "runtime/exec/local_expert_client.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace troupe::testing {

struct rig_options {
  exec::cpu_dtype dtype = exec::cpu_dtype::automatic;
  int threads = 1;
  int shards = 1;
  std::int32_t pages = 64;
  std::optional<kernels::isa> isa{};
  exec::cache_dtype cache = exec::cache_dtype::automatic;
};

/// Experts that an engine takes for slow ones, so that it halves every step of two rows or more.
class overlapped_experts final : public exec::expert_client {
 public:
  explicit overlapped_experts(std::unique_ptr<exec::expert_client> to) : to_(std::move(to)) {}

  result<void> start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) override {
    most_open_ = std::max(most_open_, ++open_);
    return to_->start(layer, choice, inputs);
  }
  result<void> finish(std::span<float> out) override { return --open_, to_->finish(out); }
  std::optional<std::int32_t> overlap_rows_min() const override { return 2; }

  int most_open() const { return most_open_; }

 private:
  std::unique_ptr<exec::expert_client> to_;
  int open_ = 0;
  int most_open_ = 0;
};

struct engine_rig {
  std::unique_ptr<exec::engine> device;
  std::unique_ptr<exec::expert_client> experts;
};

inline engine_rig make_rig(exec::weight_source& weights, const model::model_config& config, const rig_options& o) {
  exec::cpu_engine_options options;
  options.cpu.dtype = o.dtype;
  options.cpu.isa = o.isa;
  options.cpu.pool = std::make_shared<kernels::thread_pool>(o.threads);
  options.page_count = o.pages;
  options.cache = o.cache;
  engine_rig rig{exec::make_cpu_engine(weights, config, options).value(), nullptr};

  const auto where = moe::place_evenly(config.expert_count, o.shards, 1);
  std::vector<std::unique_ptr<exec::expert_engine>> shards;
  for (int s = 0; s < o.shards; ++s) {
    const auto owned = where.experts_of(shard_id{static_cast<std::uint32_t>(s)});
    shards.push_back(exec::make_cpu_expert_engine(weights, config, owned, options.cpu).value());
  }
  rig.experts = std::make_unique<exec::local_expert_client>(std::move(shards), where, config.hidden_size,
                                                            exec::cpu_element(weights, options.cpu));
  return rig;
}

/// Pages first, first + step, ...: room for `positions` tokens.
inline std::vector<page_id> pages_from(std::uint32_t first, std::size_t positions, std::uint32_t step = 1) {
  std::vector<page_id> pages;
  for (std::size_t covered = 0; covered < positions; covered += 64, first += step) pages.push_back(page_id{first});
  return pages;
}

using logit_rows = std::vector<std::vector<float>>;

/// Logits of the last forward() from wanted row `first` on.
inline logit_rows copy_logits(const exec::engine& device, std::int32_t first, std::size_t count) {
  logit_rows rows;
  for (std::size_t i = 0; i < count; ++i) {
    const auto row = device.logits(first + static_cast<std::int32_t>(i));
    rows.emplace_back(row.begin(), row.end());
  }
  return rows;
}

/// Logits of every row of `tokens` as one sequence, computed in chunks of the given sizes; the last repeats.
inline logit_rows run_alone(engine_rig& rig, std::span<const token_id> tokens, std::span<const page_id> pages,
                            std::span<const int> chunks) {
  logit_rows all;
  for (std::size_t done = 0, step = 0; done < tokens.size(); ++step) {
    const auto size = static_cast<std::size_t>(chunks[std::min(step, chunks.size() - 1)]);
    const auto chunk = tokens.subspan(done, std::min(size, tokens.size() - done));
    const exec::row_group group{.tokens = chunk,
                                .first_position = static_cast<std::int32_t>(done),
                                .pages = pages,
                                .logit_rows = static_cast<std::int32_t>(chunk.size())};
    rig.device->forward({&group, 1}, *rig.experts).value();
    for (auto& row : copy_logits(*rig.device, 0, chunk.size())) all.push_back(std::move(row));
    done += chunk.size();
  }
  return all;
}

} // namespace troupe::testing
