// Loads independent parts of a model side by side. The first error, by part, is the result: the same on every run.
#pragma once

#include "kernels/cpu/thread_pool.hpp"
#include "runtime/core/result.hpp"

#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace troupe::exec {

/// to = from's value, or from's error.
template <class T, class U>
result<void> assign(T& to, result<U> from) {
  if (!from) return from.error();
  to = std::move(from).value();
  return {};
}

/// Calls `load(i)` for i in [0, count) and `progress(done, count)` after each, one at a time.
template <class Load>
result<void> load_in_parallel(kernels::thread_pool& pool, std::int64_t count,
                              const std::function<void(std::int64_t, std::int64_t)>& progress, Load load) {
  std::vector<result<void>> outcomes(static_cast<std::size_t>(count));
  std::mutex mutex;
  std::int64_t done = 0;
  pool.parallel_for(count, [&](std::int64_t i) {
    outcomes[static_cast<std::size_t>(i)] = load(i);
    const std::lock_guard lock(mutex);
    ++done;
    if (progress) progress(done, count);
  });
  for (auto& outcome : outcomes) TROUPE_TRY(std::move(outcome));
  return {};
}

} // namespace troupe::exec
