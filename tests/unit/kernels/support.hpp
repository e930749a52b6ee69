// What kernel tests share: fresh random tensors (the seed is printed; TROUPE_SEED replays it), poisoned outputs,
// every target of this machine, and a tolerance that scales with the size of the sums.
#pragma once

#include "kernels/cpu/isa.hpp"
#include "kernels/cpu/matrix.hpp"

#include <boost/test/unit_test.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace troupe::kernels::test {

inline constexpr float poison = std::numeric_limits<float>::quiet_NaN();

/// Seeds from the clock of the standard library's entropy source; prints what replays the run.
class random_source {
 public:
  random_source() {
    const char* fixed = std::getenv("TROUPE_SEED");
    const auto seed = fixed ? std::strtoull(fixed, nullptr, 10) : std::random_device{}();
    BOOST_TEST_MESSAGE("TROUPE_SEED=" << seed);
    std::printf("TROUPE_SEED=%llu\n", static_cast<unsigned long long>(seed));
    engine_.seed(seed);
  }
  float normal() { return std::normal_distribution<float>{}(engine_); }
  float uniform(float low, float high) { return std::uniform_real_distribution<float>{low, high}(engine_); }
  std::int64_t integer(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>{low, high}(engine_);
  }
  std::vector<float> normals(std::int64_t count, float deviation = 1) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (auto& v : values) v = normal() * deviation;
    return values;
  }

 private:
  std::mt19937_64 engine_;
};

/// A checkpoint tensor of its own memory, one byte off any alignment.
struct random_weights {
  std::vector<std::byte> bytes;
  std::vector<std::byte> scale_bytes;
  weight_view view;
};

inline random_weights make_weights(random_source& random, tensor_type type, std::int64_t rows, std::int64_t cols,
                                   std::int64_t block = 128) {
  random_weights w;
  const auto size = bytes_of(type);
  w.bytes.resize(static_cast<std::size_t>(rows * cols) * size + 1);
  for (std::int64_t i = 0; i < rows * cols; ++i) {
    const float value = random.normal();
    std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    if (type == tensor_type::bf16) bits = float_to_bf16(value);
    if (type == tensor_type::f16) bits = static_cast<std::uint32_t>(random.integer(0, 0x4bff)); // up to 16
    if (type == tensor_type::f8_e4m3) {
      bits = static_cast<std::uint32_t>(random.integer(0, 255)); // every code but the two NaNs, subnormals included
      if ((bits & 0x7f) == 0x7f) bits = 0x01;
    }
    std::memcpy(w.bytes.data() + 1 + i * size, &bits, size);
  }
  w.view = {type, w.bytes.data() + 1, rows, cols, nullptr, block, block};
  if (type == tensor_type::f8_e4m3) {
    const auto count = ((rows + block - 1) / block) * ((cols + block - 1) / block);
    w.scale_bytes.resize(static_cast<std::size_t>(count) * 4 + 1);
    for (std::int64_t i = 0; i < count; ++i) {
      const float scale = random.uniform(0.002f, 0.02f);
      std::memcpy(w.scale_bytes.data() + 1 + i * 4, &scale, 4);
    }
    w.view.scales = w.scale_bytes.data() + 1;
  }
  return w;
}

/// Every instruction set of this machine in both compute types; says once which sets are skipped.
inline const std::vector<target>& targets() {
  static const auto all = [] {
    std::vector<target> found;
    for (const auto set : {isa::avx2, isa::avx512_bf16, isa::amx_bf16}) {
      if (!supported(set)) {
        std::printf("skipped on this machine: %s\n", std::string(name_of(set)).c_str());
        continue;
      }
      found.push_back({set, compute_type::float32});
      found.push_back({set, compute_type::bfloat16});
    }
    return found;
  }();
  return all;
}

inline std::string describe(target t) {
  return std::string(name_of(t.set)) + (t.compute == compute_type::float32 ? "/float32" : "/bfloat16");
}

inline std::vector<double> as_doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

inline double root_mean_square(const std::vector<double>& values) {
  double squares = 0;
  for (const double v : values) squares += v * v;
  return std::sqrt(squares / static_cast<double>(std::max<std::size_t>(1, values.size())));
}

/// Largest |got - want| divided by `scale`; infinite if anything is not a number.
inline double largest_error(const float* got, const std::vector<double>& want, double scale) {
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    if (!std::isfinite(got[i])) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, std::abs(got[i] - want[i]) / scale);
  }
  return worst;
}

inline std::vector<double> absolute(std::vector<double> values) {
  for (auto& v : values) v = std::abs(v);
  return values;
}

inline bool same_bits(const float* a, const float* b, std::int64_t count) {
  return count == 0 || std::memcmp(a, b, static_cast<std::size_t>(count) * sizeof(float)) == 0;
}

} // namespace troupe::kernels::test
