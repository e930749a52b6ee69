// How long a batch of expert work will take, judged by the batch before it.
#pragma once

#include "runtime/core/clock.hpp"

#include <cstddef>

namespace troupe::moe {

/// A small batch reads weights for few rows, so a large one after it is taken for longer than it will be.
class pace {
 public:
  /// False before the first batch.
  bool within(std::size_t pairs, duration time) const {
    return known_ && per_pair_ * static_cast<duration::rep>(pairs) <= time;
  }

  void learn(std::size_t pairs, duration took) {
    if (pairs == 0) return;
    per_pair_ = took / static_cast<duration::rep>(pairs);
    known_ = true;
  }

 private:
  duration per_pair_{};
  bool known_ = false;
};

} // namespace troupe::moe
