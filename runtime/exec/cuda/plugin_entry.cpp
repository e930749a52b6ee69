// The only exported symbol of libtroupe_cuda.so.
#include "runtime/exec/cuda/cuda_model.hpp"

#include <numeric>

namespace troupe::exec {
namespace {

class cuda_plugin final : public device_plugin {
 public:
  explicit cuda_plugin(cuda_device device) : device_(std::move(device)) {}

  std::string name() const override { return device_.name + " " + device_.card + " #" + std::to_string(device_.index); }

  result<std::unique_ptr<engine>> make_engine(weight_source& weights, const model::model_config& config,
                                              const device_engine_options& options) override {
    TROUPE_ASSIGN(auto made, cuda_model::load(device_, weights, config, options));
    return std::unique_ptr<engine>(std::move(made));
  }

  result<std::unique_ptr<expert_engine>> make_expert_engine(weight_source& weights, const model::model_config& config,
                                                            std::span<const expert_index> experts) override {
    TROUPE_ASSIGN(auto made, cuda_experts::load(device_, weights, config, experts));
    return std::unique_ptr<expert_engine>(std::move(made));
  }

  result<std::unique_ptr<expert_client>> make_local_experts(weight_source& weights,
                                                            const model::model_config& config) override {
    std::vector<expert_index> all(static_cast<std::size_t>(config.expert_count));
    std::iota(all.begin(), all.end(), 0);
    TROUPE_ASSIGN(auto made, cuda_experts::load(device_, weights, config, all));
    return std::unique_ptr<expert_client>(std::make_unique<cuda_local_experts>(std::move(made), config));
  }

  result<double> measure_read_gbs(std::size_t bytes) override {
    device_.enter();
    return cuda_read_gbs(bytes);
  }

 private:
  cuda_device device_;
};

result<std::unique_ptr<device_plugin>> open(int index) {
  TROUPE_ASSIGN(auto device, open_cuda(index));
  return std::unique_ptr<device_plugin>(std::make_unique<cuda_plugin>(std::move(device)));
}

} // namespace
} // namespace troupe::exec

extern "C" __attribute__((visibility("default"))) const troupe::exec::plugin_entry* troupe_plugin_entry() {
  static const troupe::exec::plugin_entry entry{troupe::exec::plugin_abi, troupe::exec::open};
  return &entry;
}
