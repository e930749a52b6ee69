// The FP8 projection of few rows against the W8A8 emulation in double.
#include "kernels/cuda/fp8_linear.hpp"
#include "tests/gpu/device_buffer.hpp"
#include "tests/gpu/fp8_random.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>

#include <algorithm>

using namespace troupe;
using namespace troupe::cuda;

namespace {

struct projection {
  int rows, cols, tokens;
  std::vector<std::uint8_t> weights, x;
  std::vector<float> scales, x_scales, bias;

  projection(int rows, int cols, int tokens, unsigned seed) : rows(rows), cols(cols), tokens(tokens) {
    test::fp8_random random(seed);
    weights = random.values(std::size_t(rows) * cols), x = random.values(std::size_t(tokens) * cols);
    scales = random.scales(std::size_t((rows + 127) / 128) * (cols / 128), cols);
    x_scales = random.scales(std::size_t(tokens) * (cols / 128), cols);
    bias.resize(rows);
    for (auto& b : bias) b = random.uniform(-1, 1);
  }

  template <class T>
  std::vector<T> run(fp8_linear_out out, int tokens_used, const std::vector<T>& before) const {
    const test::device_buffer<std::uint8_t> d_w(weights), d_x(x);
    const test::device_buffer<float> d_s(scales), d_xs(x_scales), d_bias(bias);
    const test::device_buffer<T> y(before);
    fp8_linear_args args;
    args.weights = d_w.get(), args.scales = d_s.get(), args.bias = d_bias.get(), args.x = d_x.get();
    args.x_scales = d_xs.get(), args.y = y.get(), args.out = out;
    args.y_pitch = rows, args.rows = rows, args.cols = cols, args.tokens = tokens_used;
    BOOST_REQUIRE_EQUAL(fp8_linear(args, nullptr), cudaSuccess);
    BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);
    return y.host();
  }

  double want(int token, int row) const {
    return bias[row] + test::scaled_dot(&weights[std::size_t(row) * cols], &scales[row / 128 * (cols / 128)],
                                        &x[std::size_t(token) * cols], &x_scales[token * (cols / 128)], 1, cols);
  }
};

void check(const projection& p, int samples) {
  const auto y = p.run(fp8_linear_out::f32, p.tokens, std::vector<float>(std::size_t(p.tokens) * p.rows, NAN));
  std::mt19937 pick(7);
  double worst = 0;
  for (int t = 0; t < p.tokens; ++t)
    for (int i = 0; i < samples; ++i) {
      const int r = i == 0 ? p.rows - 1 : int(pick() % p.rows);
      const double want = p.want(t, r),
                   error = std::abs(y[std::size_t(t) * p.rows + r] - want) / (std::abs(want) / 256 + 2e-3);
      worst = error <= worst ? worst : error; // NaN counts
    }
  BOOST_TEST(worst <= 1.0);
}

} // namespace

BOOST_AUTO_TEST_SUITE(fp8_linear, *boost::unit_test::precondition(test::needs_hopper))

BOOST_DATA_TEST_CASE(any_number_of_tokens_matches_the_emulation,
                     boost::unit_test::data::make({1, 7, 8, 9, 16, 17, 32, 33, 63, 64, 65, 131}), tokens) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);

  check(projection(257, 640, tokens, seed), 24);
}

// As many K ranges as a matrix may be cut into, and edges of the last strip.
BOOST_AUTO_TEST_CASE(matrices_of_any_shape_match_the_emulation) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  for (const auto& [rows, cols] : {std::pair{1, 128}, {127, 256}, {128, 384}, {129, 1152}, {576, 7168}})
    check(projection(rows, cols, 3, seed), 24);
}

BOOST_AUTO_TEST_CASE(r1_dimensions_match_the_emulation) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  check(projection(24576, 1536, 5, seed), 40);
  check(projection(7168, 16384, 33, seed), 6);
}

BOOST_AUTO_TEST_CASE(results_are_rounded_or_added) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  const projection p(200, 256, 4, seed);
  const auto plain = p.run(fp8_linear_out::f32, 4, std::vector<float>(800, NAN));
  const auto rounded = p.run(fp8_linear_out::bf16, 4, std::vector<std::uint16_t>(800, 0xFFFF));
  const auto added = p.run(fp8_linear_out::add_f32, 4, std::vector<float>(800, 3.0f));

  for (int i = 0; i < 800; ++i) {
    BOOST_REQUIRE_EQUAL(rounded[i], kernels::float_to_bf16(plain[i]));
    BOOST_REQUIRE_EQUAL(added[i], 3.0f + plain[i]);
  }
}

BOOST_AUTO_TEST_CASE(rows_do_not_depend_on_their_neighbours) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  const projection p(384, 2048, 64, seed);
  const auto full = p.run(fp8_linear_out::f32, 64, std::vector<float>(64 * 384, NAN));
  for (int tokens : {1, 9, 20, 33}) {
    const auto few = p.run(fp8_linear_out::f32, tokens, std::vector<float>(64 * 384, NAN));
    BOOST_TEST(std::equal(few.begin(), few.begin() + tokens * 384, full.begin()));
  }
}

BOOST_AUTO_TEST_SUITE_END()
