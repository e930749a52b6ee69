#include "kernels/cpu/elementwise.hpp"
#include "kernels/cpu/row_kernels.hpp"
#include "kernels/cpu/swiglu.hpp"
#include "kernels/ref/dense.hpp"
#include "tests/unit/kernels/support.hpp"

using namespace troupe::kernels;
using namespace troupe::kernels::test;

BOOST_AUTO_TEST_SUITE(elementwise)

BOOST_AUTO_TEST_CASE(rmsnorm_equals_the_reference) {
  random_source random;
  for (const std::int64_t n : {1, 3, 15, 16, 17, 512, 1536, 7168}) {
    const auto x = random.normals(n, 3), w = random.normals(n);
    std::vector<float> y(static_cast<std::size_t>(n), poison);

    rmsnorm(x.data(), w.data(), n, 1e-6f, y.data());

    BOOST_TEST(largest_error(y.data(), ref::rmsnorm(as_doubles(x), as_doubles(w), 1e-6), 1) < 1e-5);
  }
}

BOOST_AUTO_TEST_CASE(softmax_and_log_sum_exp_equal_the_reference) {
  random_source random;
  for (const std::int64_t n : {1, 2, 31, 1000}) {
    auto x = random.normals(n, 10);
    const auto want = ref::softmax(as_doubles(x));
    const double lse = log_sum_exp(x.data(), n);

    for (std::int64_t i = 0; i < n; ++i) BOOST_TEST(std::abs(std::exp(x[i] - lse) - want[i]) < 1e-9);
    softmax(x.data(), n);

    BOOST_TEST(largest_error(x.data(), want, 1) < 1e-5);
  }
}

BOOST_AUTO_TEST_CASE(vector_swiglu_is_accurate_and_equal_on_every_instruction_set) {
  random_source random;
  std::vector<float> gate = random.normals(4096, 8), up = random.normals(4096);
  gate[0] = 0, gate[1] = -0.0f, gate[2] = 100, gate[3] = -100, gate[4] = 1e30f, gate[5] = -1e30f, gate[6] = poison;
  std::vector<float> first;
  for (const auto set : supported_isas()) {
    auto y = gate;
    swiglu_for(set)(y.data(), up.data(), 4096);

    for (std::size_t i = 0; i < y.size(); ++i) {
      const double want = ref::silu(gate[i]) * up[i];
      if (i == 6) {
        BOOST_TEST(std::isnan(y[i]));
      } else {
        BOOST_TEST(std::abs(y[i] - want) <= 1e-6 * std::abs(want) + 1e-30, gate[i] << " gives " << y[i]);
      }
    }
    if (first.empty()) first = y;
    y[6] = first[6] = 0;
    BOOST_TEST(same_bits(first.data(), y.data(), 4096));
  }
}

BOOST_AUTO_TEST_CASE(rounds_to_bf16_like_the_scalar_conversion) {
  random_source random;
  for (int i = 0; i < 1000; ++i) {
    const auto bits = static_cast<std::uint32_t>(random.integer(0, 0xffffffff));
    std::vector<float> x(13, std::bit_cast<float>(bits));
    const float want = bf16_to_float(float_to_bf16(x[0]));

    round_to_bf16(x.data(), 13);

    for (const float v : x) BOOST_TEST(std::bit_cast<std::uint32_t>(v) == std::bit_cast<std::uint32_t>(want));
  }
}

/// What every row operation leaves in memory for the same inputs.
std::vector<float> run_all(const row_kernels& kernels, const std::vector<float>& x, const std::vector<float>& w) {
  const auto n = static_cast<std::int64_t>(x.size());
  std::vector<float> rounded(x.size(), poison), widened(x.size(), poison), sum(w), scaled(w), normed(x.size(), poison);
  std::vector<std::uint16_t> bits(x.size()), tiles(x.size() / 32 * 32);
  kernels.to_bf16(x.data(), bits.data(), n);
  kernels.from_bf16(bits.data(), widened.data(), n);
  kernels.round_floats(x.data(), rounded.data(), n);
  kernels.to_bf16_tiles(x.data(), n / 32, reinterpret_cast<std::byte*>(tiles.data()), 64);
  kernels.add(x.data(), n, sum.data());
  kernels.add_scaled(x.data(), 0.37f, n, scaled.data());
  kernels.scale(x.data(), w.data(), 1.7f, n, normed.data());
  for (std::size_t i = 0; i < x.size(); ++i) {
    BOOST_TEST(bits[i] == float_to_bf16(x[i]));
    BOOST_TEST((i >= tiles.size() || tiles[i] == bits[i]));
  }
  std::vector<float> all{kernels.sum_of_squares(x.data(), n)};
  for (const auto& part : {rounded, widened, sum, scaled, normed}) all.insert(all.end(), part.begin(), part.end());
  return all;
}

BOOST_AUTO_TEST_CASE(row_operations_are_equal_on_every_instruction_set) {
  random_source random;
  for (const std::int64_t n : {1, 15, 16, 17, 32, 100, 1024}) {
    auto x = random.normals(n, 3);
    x[static_cast<std::size_t>(n) / 2] = 1e-40f; // a subnormal is kept
    const auto w = random.normals(n);
    const auto want = run_all(detail::rows_baseline, x, w);
    if (supported(isa::avx2)) BOOST_TEST(same_bits(run_all(detail::rows_avx2, x, w).data(), want.data(), 5 * n + 1));
    if (supported(isa::avx512_bf16))
      BOOST_TEST(same_bits(run_all(detail::rows_avx512, x, w).data(), want.data(), 5 * n + 1));
  }
}

BOOST_AUTO_TEST_CASE(adds_and_multiplies) {
  std::vector<float> y{1, 2, 3};
  const std::vector<float> x{10, 20, 30};
  add(x.data(), 3, y.data());
  add_scaled(x.data(), 0.5f, 3, y.data());
  BOOST_TEST(y == (std::vector<float>{16, 32, 48}), boost::test_tools::per_element());
  silu_multiply(x.data(), y.data(), 3, y.data());
  BOOST_TEST(y[0] == 16 * 10 / (1 + std::exp(-10.0f)), boost::test_tools::tolerance(1e-6f));
}

BOOST_AUTO_TEST_SUITE_END()
