#include "runtime/exec/device/plugin.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <mutex>
#include <numeric>
#include <utility>

#include <dlfcn.h>

namespace troupe::exec {
namespace {

error unsupported(std::string why) { return error{errc::unsupported, std::move(why)}; }

std::filesystem::path binary_dir() {
  std::error_code failed;
  return std::filesystem::read_symlink("/proc/self/exe", failed).parent_path();
}

} // namespace

result<device_choice> parse_device(std::string_view text) {
  device_choice choice{.kind = std::string(text.substr(0, text.find(':')))};
  bool good = choice.kind == "cuda" || text == "cpu";
  if (good && choice.kind.size() < text.size()) {
    const auto number = text.substr(choice.kind.size() + 1);
    const auto [end, failed] = std::from_chars(number.data(), number.data() + number.size(), choice.index);
    good = failed == std::errc{} && end == number.data() + number.size() && choice.index >= 0;
  }
  if (!good) return error{errc::bad_input, "device '" + std::string(text) + "': cpu, cuda, or cuda:N for GPU N"};
  return choice;
}

std::vector<std::filesystem::path> plugin_paths(std::string_view kind, const std::string& plugin_dir,
                                                const std::filesystem::path& binary_dir) {
  const auto file = "libtroupe_" + std::string(kind) + ".so";
  std::vector<std::filesystem::path> paths;
  if (!plugin_dir.empty()) paths.push_back(std::filesystem::path(plugin_dir) / file);
  paths.push_back(binary_dir / file);
  paths.push_back((binary_dir / ".." / "lib" / file).lexically_normal());
  return paths;
}

result<void> check_entry(const plugin_entry* entry, const std::filesystem::path& file) {
  if (entry->abi == plugin_abi) return {};
  return unsupported(file.string() + ": has plug-in interface " + std::to_string(entry->abi) + ", this binary needs " +
                     std::to_string(plugin_abi) + "; build both from one state of the sources");
}

result<const plugin_entry*> load_plugin(std::string_view kind, std::span<const std::filesystem::path> paths) {
  const auto of_kind = "device " + std::string(kind) + ": ";
  std::string looked;
  for (const auto& path : paths) {
    if (!std::filesystem::exists(path)) {
      looked += (looked.empty() ? "" : ", ") + path.string();
      continue;
    }
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) return unsupported(of_kind + dlerror());
    const auto entry_of = reinterpret_cast<const plugin_entry* (*)()>(dlsym(library, plugin_symbol));
    if (!entry_of) return unsupported(of_kind + path.string() + " is no Troupe plug-in");
    TROUPE_TRY(check_entry(entry_of(), path));
    return entry_of();
  }
  return unsupported(of_kind + "the plug-in is not there (" + looked +
                     "); build it with `cmake --workflow --preset gpu`, name its folder in TROUPE_PLUGIN_DIR, or use "
                     "--device cpu");
}

result<std::unique_ptr<device_plugin>> open_device(std::string_view kind, int index) {
  const char* plugin_dir = std::getenv("TROUPE_PLUGIN_DIR");
  const auto paths = plugin_paths(kind, plugin_dir ? plugin_dir : "", binary_dir());
  TROUPE_ASSIGN(const auto* entry, load_plugin(kind, paths));
  return entry->open(std::max(index, 0));
}

namespace {

/// Tells how many tensors of a plan were asked for.
class counted_weights final : public weight_source {
 public:
  counted_weights(weight_source& from, std::size_t count, const load_progress& progress)
      : from_(from), count_(static_cast<std::int64_t>(count)), progress_(progress) {}

  std::optional<kernels::tensor_type> type_of(const std::string& name) const override { return from_.type_of(name); }
  result<stored_matrix> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) override {
    tell();
    return from_.matrix(name, rows, cols);
  }
  result<std::vector<float>> vector(const std::string& name, std::int64_t size) override {
    tell();
    return from_.vector(name, size);
  }
  std::optional<random_matrix> random(const std::string& name, std::int64_t rows, std::int64_t cols) const override {
    auto recipe = from_.random(name, rows, cols);
    if (recipe) tell();
    return recipe;
  }

 private:
  void tell() const {
    const std::lock_guard lock(mutex_);
    if (progress_) progress_(done_++, count_);
  }

  weight_source& from_;
  std::int64_t count_;
  const load_progress& progress_;
  mutable std::int64_t done_ = 0;
  mutable std::mutex mutex_;
};

/// make(weights) of a role that reads `plan`.
template <class Make>
auto load_planned(const model::weight_plan& plan, weight_source& weights, const load_progress& progress, Make make)
    -> decltype(make(weights)) {
  TROUPE_TRY(weights.check(plan));
  counted_weights counted(weights, plan.size(), progress);
  return make(counted);
}

} // namespace

result<std::unique_ptr<engine>> make_device_engine(device_plugin& device, weight_source& weights,
                                                   const model::model_config& config,
                                                   const device_engine_options& options,
                                                   const load_progress& progress) {
  const auto plan = model::plan_attention(config, has_mtp(weights, config));
  return load_planned(plan, weights, progress,
                      [&](weight_source& source) { return device.make_engine(source, config, options); });
}

result<std::unique_ptr<expert_engine>> make_device_expert_engine(device_plugin& device, weight_source& weights,
                                                                 const model::model_config& config,
                                                                 std::span<const expert_index> experts,
                                                                 const load_progress& progress) {
  const auto plan = model::plan_experts(config, experts, has_mtp(weights, config));
  return load_planned(plan, weights, progress,
                      [&](weight_source& source) { return device.make_expert_engine(source, config, experts); });
}

result<std::unique_ptr<expert_client>> make_device_local_experts(device_plugin& device, weight_source& weights,
                                                                 const model::model_config& config,
                                                                 const load_progress& progress) {
  std::vector<expert_index> all(static_cast<std::size_t>(config.expert_count));
  std::iota(all.begin(), all.end(), 0);
  const auto plan = model::plan_experts(config, all, has_mtp(weights, config));
  return load_planned(plan, weights, progress,
                      [&](weight_source& source) { return device.make_local_experts(source, config); });
}

} // namespace troupe::exec
