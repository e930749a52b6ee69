// Any bytes are either refused as one of a checkpoint's JSON files in one line, or make a config whose sizes multiply
// without overflow (UBSan watches).
#include "runtime/core/invariant.hpp"
#include "runtime/model/config.hpp"
#include "runtime/model/shard_index.hpp"
#include "runtime/model/weight_plan.hpp"

#include <algorithm>
#include <array>

using namespace troupe;
using namespace troupe::model;

namespace {

template <class T>
void check_refusal(const result<T>& parsed) {
  if (parsed) return;
  invariant(parsed.error().message.starts_with("file.json: "), "a refusal names the file");
  invariant(parsed.error().message.find('\n') == std::string::npos, "a refusal is one line");
}

void multiply(const weight_plan& plan) {
  for (const auto& tensor : plan) {
    std::int64_t bytes = 4;
    for (const auto size : tensor.shape) bytes *= size;
    invariant(bytes > 0, "tensors have elements");
  }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check_refusal(parse_generation_config(text, "file.json"));
  check_refusal(parse_shard_index(text, "file.json"));
  auto config = parse_config(text, "file.json");
  check_refusal(config);
  if (!config) return 0;
  config->first_k_dense_replace = std::min(config->first_k_dense_replace, 2);
  config->layer_count = std::min(config->layer_count, 4); // thousands of equal layers would only take time
  multiply(plan_attention(*config, true));
  multiply(plan_experts(*config, std::array<expert_index, 1>{0}, true));
  return 0;
}
