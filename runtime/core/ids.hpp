// Strong ids. Two ids of different things never convert into one another or into a number by accident.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace troupe {

/// A value of type `T` that means one thing only; `Tag` says which.
template <class Tag, class T>
struct strong_id {
  T value{};
  constexpr strong_id() = default;
  constexpr explicit strong_id(T v) : value(v) {}
  friend constexpr auto operator<=>(strong_id, strong_id) = default;
};

/// One client request; unique in a cluster (the router's incarnation in the upper bits).
using request_id = strong_id<struct request_tag, std::uint64_t>;
/// One page of a kv_cache's page pool.
using page_id = strong_id<struct page_tag, std::uint32_t>;
/// One expert_shard actor, numbered by the supervisor from 0 within a model.
using shard_id = strong_id<struct shard_tag, std::uint32_t>;
/// One role process of a cluster, numbered by the supervisor; never reused.
using process_id = strong_id<struct process_tag, std::uint32_t>;

/// A row of the embedding. Plain, because tokens are data that kernels index with.
using token_id = std::int32_t;
/// Index of a decoder layer, 0-based; the MTP module is layer `layer_count`.
using layer_index = std::int32_t;
/// Index of a routed expert within its layer.
using expert_index = std::int32_t;

} // namespace troupe

template <class Tag, class T>
struct std::hash<troupe::strong_id<Tag, T>> {
  std::size_t operator()(troupe::strong_id<Tag, T> id) const noexcept { return std::hash<T>{}(id.value); }
};
