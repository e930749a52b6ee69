// What every expert_engine asks of a batch before it computes.
#pragma once

#include "runtime/core/result.hpp"
#include "runtime/moe/dispatch.hpp"

#include <cstdint>
#include <span>

namespace troupe::exec {

/// `layer_slots` and `expert_slots` say where a layer or an expert of the model stands among this engine's; -1: it has
/// none. Errors: bad_input, naming what does not fit.
result<void> check_expert_batch(const moe::shard_batch& batch, std::int32_t hidden_size,
                                std::span<const std::int32_t> layer_slots, std::span<const std::int32_t> expert_slots);

} // namespace troupe::exec
