// Engines of a device that not every host has. They live in a library beside the binary, libtroupe_<kind>.so, loaded
// when somebody asks for the device: a host without CUDA needs none of it, and this header names none of it.
#pragma once

#include "runtime/exec/cache_dtype.hpp"
#include "runtime/exec/engine.hpp"
#include "runtime/exec/model_weights.hpp"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::exec {

/// Grows with every change of a class that crosses the border: those of this file, engine.hpp, sampler.hpp,
/// expert_client.hpp, moe/dispatch.hpp, model_weights.hpp, cache_dtype.hpp, model/config.hpp, core/result.hpp and
/// core/device_segment.hpp.
inline constexpr std::uint32_t plugin_abi = 6;

struct device_engine_options {
  cache_dtype cache = cache_dtype::automatic;
  std::int32_t page_count = 0;        ///< pages of the latent cache; 0: by the two fields below
  double kv_cache_ratio = 0.8;        ///< share of the device memory left once the weights are loaded ...
  std::int32_t page_count_max = 4096; ///< ... but no more pages than this
  bool deterministic = true;          ///< false: a row's bits may depend on how many others are in the step
};

/// One opened device, a factory only: the engines do not need it afterwards. Rows travel between roles as bf16.
class device_plugin {
 public:
  virtual ~device_plugin() = default;

  /// "cuda/sm_90a NVIDIA H200 #0", "cuda/sm_80 NVIDIA A100 #0": for logs and `troupe status`.
  virtual std::string name() const = 0;

  /// As the CPU engine's factories: everything but the routed experts, and the given experts of every MoE layer.
  /// Errors: bad_input (weights), unsupported (a shape the kernels do not have), overloaded (device memory).
  virtual result<std::unique_ptr<engine>> make_engine(weight_source& weights, const model::model_config& config,
                                                      const device_engine_options& options) = 0;
  virtual result<std::unique_ptr<expert_engine>> make_expert_engine(weight_source& weights,
                                                                    const model::model_config& config,
                                                                    std::span<const expert_index> experts) = 0;

  /// All experts on this device, for an engine of this device: rows never leave it. Any other engine may use it too.
  virtual result<std::unique_ptr<expert_client>> make_local_experts(weight_source& weights,
                                                                    const model::model_config& config) = 0;

  /// GB/s that reading `bytes` of device memory reaches now: the yardstick of `troupe bench engine`. Errors:
  /// overloaded.
  virtual result<double> measure_read_gbs(std::size_t bytes) = 0;
};

/// What the library's only exported function returns. `abi` is read first and stays first for ever.
struct plugin_entry {
  std::uint32_t abi = 0;
  /// Opens device `index`, counted modulo the devices there are.
  result<std::unique_ptr<device_plugin>> (*open)(int index) = nullptr;
};
inline constexpr const char* plugin_symbol = "troupe_plugin_entry"; ///< extern "C" const plugin_entry* ()

/// "cpu", "cuda" or "cuda:1".
struct device_choice {
  std::string kind;
  int index = -1; ///< -1: not given
};
/// Errors: bad_input naming what there is.
result<device_choice> parse_device(std::string_view text);

/// Where the library is looked for, in this order: `plugin_dir` if not empty, beside the binary, its ../lib.
std::vector<std::filesystem::path> plugin_paths(std::string_view kind, const std::string& plugin_dir,
                                                const std::filesystem::path& binary_dir);
/// Errors: unsupported when the library was built from another state of the sources.
result<void> check_entry(const plugin_entry* entry, const std::filesystem::path& file);
/// Loads the first library of `paths` that exists; it stays loaded. Errors: unsupported, in one line that says what to
/// do.
result<const plugin_entry*> load_plugin(std::string_view kind, std::span<const std::filesystem::path> paths);

/// Opens a device other than the CPU: TROUPE_PLUGIN_DIR, load_plugin(), open(). Errors: unsupported (no library, no
/// driver, no such GPU).
result<std::unique_ptr<device_plugin>> open_device(std::string_view kind, int index);

/// How many tensors of a role are on the device, of how many.
using load_progress = std::function<void(std::int64_t done, std::int64_t count)>;

/// The factories, with every tensor of the role looked for before the first is loaded.
result<std::unique_ptr<engine>> make_device_engine(device_plugin& device, weight_source& weights,
                                                   const model::model_config& config,
                                                   const device_engine_options& options,
                                                   const load_progress& progress = {});
result<std::unique_ptr<expert_engine>> make_device_expert_engine(device_plugin& device, weight_source& weights,
                                                                 const model::model_config& config,
                                                                 std::span<const expert_index> experts,
                                                                 const load_progress& progress = {});
result<std::unique_ptr<expert_client>> make_device_local_experts(device_plugin& device, weight_source& weights,
                                                                 const model::model_config& config,
                                                                 const load_progress& progress = {});

} // namespace troupe::exec
