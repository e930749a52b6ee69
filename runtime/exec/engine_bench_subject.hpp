// What `troupe bench engine` measures, on the CPU or on a GPU, with the yardsticks of the same device.
#pragma once

#include "runtime/exec/engine_bench.hpp"
#include "runtime/exec/expert_client.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace troupe::exec {

/// An engine with all its experts.
class bench_subject {
 public:
  virtual ~bench_subject() = default;

  virtual engine& model() = 0;
  virtual expert_client& experts() = 0;
  virtual std::string device() const = 0;
  /// Weights that the last step read, routed experts aside.
  virtual std::int64_t step_bytes() const = 0;
  virtual std::int64_t expert_bytes() const = 0;
  /// Whether experts see only what passes through expert_client::start(): a GPU keeps its rows to itself.
  virtual bool counts_experts() const = 0;
  virtual double read_gbs() = 0;
  virtual double gemm_gflops() = 0; ///< 0: not measured
};

/// `pages`: of the latent cache. Errors: as bench_engine.
result<std::unique_ptr<bench_subject>> make_cpu_subject(const bench_options& options, const model::model_config& config,
                                                        std::int32_t pages);
result<std::unique_ptr<bench_subject>> make_device_subject(const bench_options& options,
                                                           const model::model_config& config, std::int32_t pages);

} // namespace troupe::exec
