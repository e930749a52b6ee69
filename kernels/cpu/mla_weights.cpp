// kv_b split per head.
#include "kernels/cpu/check.hpp"
#include "kernels/cpu/mla_attention.hpp"

namespace troupe::kernels {
namespace {

/// `rows` x `cols` floats as a matrix. kv_b in bf16 is exact again after this.
matrix pack_floats(const std::vector<float>& values, std::int64_t rows, std::int64_t cols, target t) {
  return matrix({tensor_type::f32, reinterpret_cast<const std::byte*>(values.data()), rows, cols}, t);
}

} // namespace

mla_weights::mla_weights(const weight_view& kv_b, const mla_shape& shape, target t) : shape_(shape) {
  const auto per_head = shape.nope + shape.value;
  check(kv_b.rows == shape.heads * per_head && kv_b.cols == shape.latent, "kv_b does not fit the attention shape");
  std::vector<float> key(static_cast<std::size_t>(shape.latent * shape.nope)); // transposed: [latent, nope]
  std::vector<float> value(static_cast<std::size_t>(shape.value * shape.latent));
  std::vector<float> row(static_cast<std::size_t>(shape.latent));
  for (std::int64_t head = 0; head < shape.heads; ++head) {
    for (std::int64_t i = 0; i < shape.nope; ++i) {
      dequantize_row(kv_b, head * per_head + i, row.data());
      for (std::int64_t c = 0; c < shape.latent; ++c) key[c * shape.nope + i] = row[c];
    }
    for (std::int64_t i = 0; i < shape.value; ++i)
      dequantize_row(kv_b, head * per_head + shape.nope + i, value.data() + i * shape.latent);
    key_.push_back(pack_floats(key, shape.latent, shape.nope, t));
    value_.push_back(pack_floats(value, shape.value, shape.latent, t));
  }
}

std::int64_t mla_weights::bytes() const {
  std::int64_t sum = 0;
  for (const auto& m : key_) sum += m.bytes();
  for (const auto& m : value_) sum += m.bytes();
  return sum;
}

} // namespace troupe::kernels
