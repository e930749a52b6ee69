// What transformers computed on a checkpoint (tests/golden/README.md), read once for a test.
#pragma once

#include "runtime/core/ids.hpp"
#include "runtime/model/mapped_file.hpp"
#include "runtime/model/safetensors.hpp"
#include "runtime/model/text_file.hpp"

#include <boost/json.hpp>
#include <boost/test/unit_test.hpp>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace troupe::testing {

struct golden_tensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

struct golden_prompt {
  std::vector<token_id> ids;
  std::vector<token_id> greedy;
};

struct golden_case {
  std::vector<golden_prompt> prompts;
  double bf16_error_max = 0;
  std::map<std::string, golden_tensor> tensors;

  /// Tensor "prompt.<p>.<what>", or null.
  const golden_tensor* find(std::size_t p, const std::string& what) const {
    const auto at = tensors.find("prompt." + std::to_string(p) + "." + what);
    return at == tensors.end() ? nullptr : &at->second;
  }
  const golden_tensor& tensor(std::size_t p, const std::string& what) const {
    const auto* found = find(p, what);
    BOOST_REQUIRE_MESSAGE(found, "golden tensor prompt." << p << "." << what);
    return *found;
  }
};

inline std::filesystem::path golden_dir() { return std::filesystem::path(TROUPE_SOURCE_DIR) / "tests/golden"; }

inline golden_case load_golden(const std::filesystem::path& dir) {
  golden_case golden;
  const auto text = model::read_text_file(dir / "golden.json").value();
  const auto json = boost::json::parse(text);
  golden.bf16_error_max = json.at("bf16_error_max").to_number<double>();
  for (const auto& p : json.at("prompts").as_array())
    golden.prompts.push_back({boost::json::value_to<std::vector<token_id>>(p.at("ids")),
                              boost::json::value_to<std::vector<token_id>>(p.at("greedy"))});

  const auto file = model::mapped_file::open(dir / "golden.safetensors").value();
  const auto entries = model::parse_safetensors(file.bytes(), "golden.safetensors").value();
  for (const auto& entry : entries) {
    const auto size = bytes_of(entry.type.value());
    golden_tensor tensor{entry.shape, std::vector<float>(entry.bytes.size() / size)};
    for (std::size_t i = 0; i < tensor.values.size(); ++i) {
      std::uint32_t bits = 0;
      std::memcpy(&bits, entry.bytes.data() + i * size, size);
      tensor.values[i] =
          size == 2 ? kernels::bf16_to_float(static_cast<std::uint16_t>(bits)) : std::bit_cast<float>(bits);
    }
    golden.tensors.emplace(entry.name, std::move(tensor));
  }
  return golden;
}

} // namespace troupe::testing
