// A folder as Hugging Face publishes it: config.json and one or many safetensors files, memory-mapped.
// Every check of model-spec.md 2.1 is made before the first tensor is handed out.
#pragma once

#include "kernels/tensor_type.hpp"
#include "runtime/core/result.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::model {

/// One tensor inside a mapped file. Row-major; `bytes` may start at any address (no alignment is promised).
/// Lives as long as the checkpoint it came from.
struct tensor_view {
  kernels::tensor_type type{};
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
  std::string_view file; ///< for messages
};

/// The tensors of a model. Opening maps the files and parses their headers; no tensor byte is read before it is used,
/// and keep() unmaps what a role does not need. Thread-safe once open.
class checkpoint {
 public:
  /// Maps the shards named by the index (or model.safetensors). Errors: bad_input naming file, tensor and reason.
  static result<checkpoint> open(const std::filesystem::path& dir);

  /// The tensor called `name`, or nullptr if there is none or no kernel knows its dtype.
  const tensor_view* find(std::string_view name) const;
  /// The tensor called `name` with exactly this shape; errors name file, tensor, expected and found shape.
  result<tensor_view> require(std::string_view name, std::span<const std::int64_t> shape) const;

  /// Unmaps everything but `wanted`, bytes of this checkpoint's tensors. Tensors without any of them keep type and
  /// shape, and have no bytes.
  void keep(std::vector<std::span<const std::byte>> wanted);

  /// Every tensor of the files in alphabetical order, those of dtypes that find() hides too.
  std::vector<std::string> names() const;
  std::size_t tensor_count() const;

  checkpoint(checkpoint&&) noexcept;
  checkpoint& operator=(checkpoint&&) noexcept;
  ~checkpoint();

 private:
  struct state;
  explicit checkpoint(std::unique_ptr<state> s);
  std::unique_ptr<state> state_;
};

} // namespace troupe::model
