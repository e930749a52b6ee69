// Time is passed in. Pure classes take `now`; only actors and launch/ read a clock.
#pragma once

#include <chrono>

namespace troupe {

using clock = std::chrono::steady_clock;
using time_point = clock::time_point;
using duration = clock::duration;

} // namespace troupe
