// The Hopper linear kernel against double, over the same rounded inputs.
#include "kernels/cuda/sm90_linear.hpp"
#include "kernels/tensor_type.hpp"
#include "tests/gpu/device_buffer.hpp"
#include "tests/gpu/fp8_random.hpp"
#include "tests/support/test_seed.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>

#include <algorithm>

using namespace troupe;
using namespace troupe::cuda;
using kernels::bf16_to_float;
using kernels::f8_e4m3_to_float;
using kernels::float_to_bf16;

namespace {

/// `groups` matrices with their tokens: x [tokens, groups, cols] as absorbed attention has it.
struct problem {
  int rows, cols, tokens, groups;
  bool fp8;
  test::fp8_random random{static_cast<unsigned>(testing::fresh_seed())};
  std::vector<std::uint8_t> weights; // e4m3, or the bytes of bf16
  std::vector<float> scales, bias;
  std::vector<std::uint16_t> x;

  problem(bool fp8, int rows, int cols, int tokens, int groups = 1)
      : rows(rows), cols(cols), tokens(tokens), groups(groups), fp8(fp8) {
    const auto count = std::size_t(groups) * rows * cols;
    if (fp8) {
      weights = random.values(count);
      scales = random.scales(std::size_t(groups) * ((rows + 127) / 128) * (cols / 128), cols);
    } else {
      weights.resize(2 * count);
      for (std::size_t i = 0; i < count; ++i) reinterpret_cast<std::uint16_t*>(weights.data())[i] = any();
    }
    x.resize(std::size_t(tokens) * groups * cols);
    for (auto& v : x) v = any();
    bias.resize(rows);
    for (auto& b : bias) b = random.uniform(-1, 1);
  }

  std::uint16_t any() { return float_to_bf16(random.uniform(-1, 1)); }

  linear_args args(const std::uint8_t* w, const float* s, const std::uint16_t* from, int first, int count) const {
    linear_args a;
    a.weights = w, a.scales = fp8 ? s : nullptr, a.rows = rows, a.cols = cols, a.groups = groups, a.tokens = count;
    a.x = from + std::size_t(first) * groups * cols, a.x_pitch = std::int64_t(groups) * cols, a.x_group = cols;
    a.y_pitch = std::int64_t(groups) * rows, a.y_group = rows;
    return a;
  }

  /// y [count, groups, rows] of the tokens from `first` on.
  template <class T>
  std::vector<T> run(linear_out out, int first, int count, const std::vector<T>& before, bool with_bias = false,
                     const std::vector<int>& group_tokens = {}) const {
    const test::device_buffer<std::uint8_t> d_w(weights);
    const test::device_buffer<float> d_s(scales), d_b(bias);
    const test::device_buffer<std::uint16_t> d_x(x);
    const test::device_buffer<T> y(before);
    const test::device_buffer<int> d_g(group_tokens);
    auto a = args(d_w.get(), d_s.get(), d_x.get(), first, count);
    a.y = y.get(), a.out = out, a.bias = with_bias ? d_b.get() : nullptr;
    a.group_tokens = group_tokens.empty() ? nullptr : d_g.get();
    BOOST_REQUIRE_EQUAL(wide_linear(a, nullptr), cudaSuccess);
    BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);
    return y.host();
  }

  std::vector<float> run(int first, int count) const {
    return run(linear_out::f32, first, count, std::vector<float>(std::size_t(count) * groups * rows, NAN));
  }

  double weight(int group, int row, int k) const {
    const auto at = (std::size_t(group) * rows + row) * cols + k;
    if (!fp8) return bf16_to_float(reinterpret_cast<const std::uint16_t*>(weights.data())[at]);
    const auto block = (std::size_t(group) * ((rows + 127) / 128) + row / 128) * (cols / 128) + k / 128;
    return double(f8_e4m3_to_float(weights[at])) * scales[block];
  }
  double want(int token, int group, int row) const {
    double sum = 0;
    for (int k = 0; k < cols; ++k)
      sum += weight(group, row, k) * bf16_to_float(x[(std::size_t(token) * groups + group) * cols + k]);
    return sum;
  }
};

/// Samples of every token and group; the last row always.
void check(const problem& p, int samples) {
  const auto y = p.run(0, p.tokens);
  std::mt19937 pick(static_cast<unsigned>(p.rows));
  const double allowed = 2e-5 * std::sqrt(p.cols) * (p.fp8 ? 60 : 1);
  double worst = 0;
  for (int t = 0; t < p.tokens; ++t)
    for (int i = 0; i < samples; ++i) {
      const int r = i == 0 ? p.rows - 1 : int(pick() % p.rows), g = int(pick() % p.groups);
      const double want = p.want(t, g, r);
      const double error =
          std::abs(y[(std::size_t(t) * p.groups + g) * p.rows + r] - want) / (std::abs(want) / 4096 + allowed);
      worst = error <= worst ? worst : error; // NaN counts
    }
  BOOST_TEST(worst <= 1.0, "fp8 " << p.fp8 << " " << p.rows << " x " << p.cols << " x " << p.tokens << ": " << worst);
}

} // namespace

BOOST_AUTO_TEST_SUITE(wide_linear, *boost::unit_test::precondition(test::needs_hopper))

BOOST_DATA_TEST_CASE(any_number_of_tokens_matches_double,
                     boost::unit_test::data::make({1, 7, 8, 9, 16, 17, 32, 33, 63, 64, 65, 131}), tokens) {
  check(problem(true, 300, 640, tokens), 24);
  check(problem(false, 300, 320, tokens), 24);
}

BOOST_AUTO_TEST_CASE(matrices_of_any_shape_match_double) {
  for (const auto& [rows, cols] : {std::pair{1, 128}, {127, 256}, {255, 384}, {256, 128}, {257, 1152}, {576, 7168}}) {
    check(problem(true, rows, cols, 3), 24);
    check(problem(false, rows, cols, 3), 24);
  }
}

BOOST_AUTO_TEST_CASE(one_matrix_per_head_matches_double) {
  check(problem(false, 512, 128, 9, 16), 24);
  check(problem(false, 128, 512, 70, 4), 24);
  check(problem(true, 384, 256, 5, 3), 24);
}

BOOST_AUTO_TEST_CASE(r1_dimensions_match_double) {
  check(problem(true, 24576, 1536, 5), 40);
  check(problem(true, 7168, 16384, 33), 4);
}

BOOST_AUTO_TEST_CASE(results_are_rounded_or_added_and_biased) {
  const problem p(true, 200, 256, 4);
  const auto plain = p.run(0, 4);
  const auto rounded = p.run(linear_out::bf16, 0, 4, std::vector<std::uint16_t>(800, 0xFFFF));
  const auto added = p.run(linear_out::add_f32, 0, 4, std::vector<float>(800, 3.0f));
  const auto biased = p.run(linear_out::f32, 0, 4, std::vector<float>(800, NAN), true);

  for (int i = 0; i < 800; ++i) {
    BOOST_REQUIRE_EQUAL(rounded[i], float_to_bf16(plain[i]));
    BOOST_REQUIRE_EQUAL(added[i], 3.0f + plain[i]);
    BOOST_REQUIRE_EQUAL(biased[i], plain[i] + p.bias[i % 200]);
  }
}

BOOST_AUTO_TEST_CASE(groups_may_have_fewer_tokens) {
  const problem p(true, 256, 128, 70, 3);
  const auto all = p.run(0, 70);
  const std::vector<int> counts{0, 65, 3};
  const auto some = p.run(linear_out::f32, 0, 70, std::vector<float>(all.size(), 7.0f), false, counts);

  for (int t = 0; t < 70; ++t)
    for (int g = 0; g < 3; ++g)
      for (int r = 0; r < 256; ++r) {
        const auto at = (std::size_t(t) * 3 + g) * 256 + r;
        BOOST_REQUIRE_EQUAL(some[at], t < counts[g] ? all[at] : 7.0f);
      }
}

BOOST_AUTO_TEST_CASE(rows_do_not_depend_on_their_neighbours) {
  for (const bool fp8 : {true, false}) {
    const problem p(fp8, 384, 2048, 130);
    const auto full = p.run(0, 130);
    for (const auto& [first, count] : {std::pair{0, 1}, {3, 9}, {50, 20}, {60, 33}, {129, 1}}) {
      const auto few = p.run(first, count);
      BOOST_TEST(std::equal(few.begin(), few.end(), full.begin() + std::ptrdiff_t(first) * 384));
    }
  }
}

BOOST_AUTO_TEST_CASE(splits_depend_on_the_matrix_and_stay_within_a_cluster) {
  BOOST_TEST(wide_linear_splits(7168, 16384, true, 1) == 4);
  BOOST_TEST(wide_linear_splits(129280, 7168, false, 1) == 1);
  BOOST_TEST(wide_linear_splits(256, 128, true, 1) == 1);
}

BOOST_AUTO_TEST_SUITE_END()
