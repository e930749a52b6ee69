// examples/demo_model with what transformers computed on it, for tests of the CPU engine.
#pragma once

#include "runtime/model/checkpoint.hpp"
#include "tests/support/engine_rig.hpp"
#include "tests/support/golden.hpp"

#include <boost/test/unit_test.hpp>
#include <thread>

namespace troupe::testing {

inline const std::filesystem::path demo_dir = std::filesystem::path(TROUPE_SOURCE_DIR) / "examples/demo_model";

/// Precondition of suites that need it.
inline boost::test_tools::assertion_result has_demo(boost::unit_test::test_unit_id) {
  return std::filesystem::exists(demo_dir / "config.json") && std::filesystem::exists(golden_dir() / "demo");
}

struct demo_model {
  golden_case golden = load_golden(golden_dir() / "demo");
  model::model_config config = model::load_config(demo_dir).value();
  exec::checkpoint_weights weights{model::checkpoint::open(demo_dir).value(), config};

  /// On every core.
  engine_rig rig(exec::cpu_dtype dtype, exec::cache_dtype cache = exec::cache_dtype::automatic) {
    return make_rig(weights, config,
                    {.dtype = dtype, .threads = static_cast<int>(std::thread::hardware_concurrency()), .cache = cache});
  }
};

} // namespace troupe::testing
