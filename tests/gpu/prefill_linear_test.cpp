// bf16 products of many tokens against double over the same rounded inputs, and widened FP8 weights bit by bit.
#include "kernels/cuda/prefill_linear.hpp"
#include "kernels/tensor_type.hpp"
#include "tests/gpu/device_buffer.hpp"
#include "tests/gpu/fp8_random.hpp"
#include "tests/support/test_seed.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>

#include <algorithm>
#include <cmath>

using namespace troupe;
using namespace troupe::cuda;
using kernels::bf16_to_float;
using kernels::float_to_bf16;

namespace {

struct product {
  int tokens, rows, cols, pitch; // pitch: of y
  test::fp8_random random{static_cast<unsigned>(testing::fresh_seed())};
  std::vector<std::uint16_t> x, weights;
  std::vector<float> bias;

  product(int tokens, int rows, int cols) : tokens(tokens), rows(rows), cols(cols), pitch(rows + 2 + rows % 2) {
    x.resize(std::size_t(tokens) * cols), weights.resize(std::size_t(rows) * cols), bias.resize(rows);
    for (auto& v : x) v = float_to_bf16(random.uniform(-1, 1));
    for (auto& v : weights) v = float_to_bf16(random.uniform(-1, 1));
    for (auto& v : bias) v = random.uniform(-1, 1);
  }

  /// y [count, pitch] of the tokens from `first` on; the columns behind `rows` keep `before`.
  template <class T>
  std::vector<T> run(linear_out out, int first, int count, T before, bool with_bias = false) const {
    const test::device_buffer<std::uint16_t> d_x(x), d_w(weights);
    const test::device_buffer<float> d_b(bias);
    const test::device_buffer<T> y(std::vector<T>(std::size_t(count) * pitch, before));
    linear_args a;
    a.weights = d_w.get(), a.x = d_x.get() + std::size_t(first) * cols, a.x_pitch = cols, a.y = y.get(), a.out = out;
    a.y_pitch = pitch, a.rows = rows, a.cols = cols, a.tokens = count, a.bias = with_bias ? d_b.get() : nullptr;
    BOOST_REQUIRE_EQUAL(prefill_linear(a, nullptr), cudaSuccess);
    BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);
    return y.host();
  }

  double want(int token, int row) const {
    double sum = 0;
    for (int k = 0; k < cols; ++k)
      sum +=
          double(bf16_to_float(x[std::size_t(token) * cols + k])) * bf16_to_float(weights[std::size_t(row) * cols + k]);
    return sum;
  }
};

/// Samples of every token; the first and the last row always.
void check(const product& p, int samples) {
  const auto y = p.run(linear_out::f32, 0, p.tokens, NAN);
  std::mt19937 pick(static_cast<unsigned>(p.rows));
  double worst = 0;
  int touched = 0;
  for (int t = 0; t < p.tokens; ++t) {
    for (int i = 0; i < samples; ++i) {
      const int r = i == 0 ? p.rows - 1 : i == 1 ? 0 : int(pick() % p.rows);
      const double want = p.want(t, r), got = y[std::size_t(t) * p.pitch + r];
      const double error = std::abs(got - want) / (std::abs(want) / 4096 + 2e-5 * std::sqrt(p.cols));
      worst = error <= worst ? worst : error; // NaN counts
    }
    for (int r = p.rows; r < p.pitch; ++r) touched += !std::isnan(y[std::size_t(t) * p.pitch + r]);
  }
  BOOST_TEST(worst <= 1.0, p.tokens << " x " << p.rows << " x " << p.cols << ": " << worst);
  BOOST_TEST(touched == 0);
}

} // namespace

BOOST_AUTO_TEST_SUITE(prefill_linear, *boost::unit_test::precondition(test::needs_hopper))

BOOST_DATA_TEST_CASE(any_number_of_tokens_matches_double,
                     boost::unit_test::data::make({1, 63, 64, 65, 127, 128, 129, 255, 256, 257, 385, 700}), tokens) {
  check(product(tokens, 300, 320), 16);
}

BOOST_AUTO_TEST_CASE(matrices_of_any_shape_match_double) {
  for (const auto& [rows, cols] :
       {std::pair{1, 64}, {127, 128}, {128, 192}, {129, 256}, {255, 320}, {257, 64}, {576, 7168}})
    check(product(300, rows, cols), 12);
}

BOOST_AUTO_TEST_CASE(r1_dimensions_match_double) {
  check(product(513, 24576, 1536), 3);
  check(product(260, 7168, 16384), 2);
}

BOOST_AUTO_TEST_CASE(results_are_rounded_or_added_and_biased) {
  const product p(200, 301, 256);
  const auto plain = p.run(linear_out::f32, 0, 200, NAN);
  const auto rounded = p.run<std::uint16_t>(linear_out::bf16, 0, 200, 0xFFFF);
  const auto added = p.run(linear_out::add_f32, 0, 200, 3.0f), biased = p.run(linear_out::f32, 0, 200, NAN, true);

  for (int t = 0; t < 200; ++t)
    for (int r = 0; r < 301; ++r) {
      const auto i = std::size_t(t) * p.pitch + r;
      BOOST_REQUIRE_EQUAL(rounded[i], float_to_bf16(plain[i]));
      BOOST_REQUIRE_EQUAL(added[i], 3.0f + plain[i]);
      BOOST_REQUIRE_EQUAL(biased[i], plain[i] + p.bias[r]);
    }
}

BOOST_AUTO_TEST_CASE(rows_do_not_depend_on_their_neighbours) {
  const product p(700, 384, 2048);
  const auto full = p.run(linear_out::f32, 0, 700, 0.0f);
  for (const auto& [first, count] : {std::pair{0, 1}, {3, 300}, {250, 20}, {699, 1}}) {
    const auto few = p.run(linear_out::f32, first, count, 0.0f);
    BOOST_TEST(std::equal(few.begin(), few.end(), full.begin() + std::ptrdiff_t(first) * p.pitch));
  }
}

BOOST_AUTO_TEST_CASE(widened_weights_are_the_rounded_products_of_code_and_scale) {
  test::fp8_random random(static_cast<unsigned>(testing::fresh_seed()));
  for (const auto& [rows, cols] : {std::pair{1, 128}, {127, 256}, {129, 384}, {300, 7168}}) {
    const auto codes = random.values(std::size_t(rows) * cols);
    const auto scales = random.scales(std::size_t((rows + 127) / 128) * (cols / 128), cols);
    const test::device_buffer<std::uint8_t> d_codes(codes);
    const test::device_buffer<float> d_scales(scales);
    const test::device_buffer<std::uint16_t> wide(codes.size() + 8);
    BOOST_REQUIRE_EQUAL(widen_weights(d_codes.get(), d_scales.get(), rows, cols, wide.get(), nullptr), cudaSuccess);
    BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);

    const auto got = wide.host();
    int wrong = 0;
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < cols; ++c) {
        const auto i = std::size_t(r) * cols + c;
        wrong += got[i] != float_to_bf16(kernels::f8_e4m3_to_float(codes[i]) *
                                         scales[std::size_t(r / 128) * (cols / 128) + c / 128]);
      }
    BOOST_TEST(wrong == 0);
    BOOST_TEST(got.back() == 0xFFFF); // still poisoned
  }
}

BOOST_AUTO_TEST_SUITE_END()
