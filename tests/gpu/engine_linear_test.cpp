// The plain linear kernel against double, over the same rounded inputs.
#include "kernels/cuda/linear.hpp"
#include "kernels/tensor_type.hpp"
#include "tests/gpu/device_buffer.hpp"
#include "tests/support/test_seed.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>

#include <cstring>

using namespace troupe;
using namespace troupe::cuda;
using kernels::bf16_to_float;
using kernels::f8_e4m3_to_float;
using kernels::float_to_bf16;

namespace {

struct random_bytes {
  std::mt19937_64 random{testing::fresh_seed()};
  float uniform(float low, float high) { return std::uniform_real_distribution<float>(low, high)(random); }
  std::vector<std::uint16_t> bf16(std::size_t count, float size) {
    std::vector<std::uint16_t> v(count);
    for (auto& x : v) x = float_to_bf16(uniform(-size, size));
    return v;
  }
  std::vector<std::uint8_t> fp8(std::size_t count) {
    std::vector<std::uint8_t> v(count);
    for (auto& x : v) do
        x = static_cast<std::uint8_t>(random());
      while ((x & 0x7F) == 0x7F);
    return v;
  }
  std::vector<float> scales(std::size_t count) {
    std::vector<float> v(count);
    for (auto& x : v) x = uniform(0.001f, 0.01f);
    return v;
  }
};

struct fp8_problem {
  int rows, cols, tokens;
  random_bytes random;
  std::vector<std::uint8_t> w;
  std::vector<std::uint16_t> x;
  std::vector<float> scales;
  fp8_problem(int r, int c, int t)
      : rows(r), cols(c), tokens(t), w(random.fp8(std::size_t(r) * c)), x(random.bf16(std::size_t(t) * c, 1)),
        scales(random.scales(std::size_t((r + 127) / 128) * (c / 128))) {}

  std::vector<float> run(int first, int count) const {
    const test::device_buffer<std::uint8_t> d_w(w);
    const test::device_buffer<std::uint16_t> d_x(x);
    const test::device_buffer<float> d_scales(scales), y(std::size_t(count) * rows);
    linear_args args;
    args.weights = d_w.get(), args.scales = d_scales.get(), args.x = d_x.get() + std::size_t(first) * cols;
    args.y = y.get(), args.x_pitch = cols, args.y_pitch = rows, args.rows = rows, args.cols = cols, args.tokens = count;
    BOOST_REQUIRE_EQUAL(linear(args, nullptr), cudaSuccess);
    BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);
    return y.host();
  }
  /// Value and the size of what was summed.
  std::pair<double, double> oracle(int token, int row) const {
    double sum = 0, size = 0;
    for (int k = 0; k < cols; ++k) {
      const double p = double(f8_e4m3_to_float(w[std::size_t(row) * cols + k])) *
                       bf16_to_float(x[std::size_t(token) * cols + k]) *
                       scales[std::size_t(row / 128) * (cols / 128) + k / 128];
      sum += p, size += std::abs(p);
    }
    return {sum, size};
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(engine_linear, *boost::unit_test::precondition(test::needs_gpu))

BOOST_DATA_TEST_CASE(fp8_matches_double,
                     boost::unit_test::data::make({1, 16, 17, 144, 576}) *
                         boost::unit_test::data::make({128, 384, 7168}),
                     rows, cols) {
  for (int tokens : {1, 7, 9, 17, 33, 65}) {
    const fp8_problem p(rows, cols, tokens);
    const auto got = p.run(0, tokens);
    double worst = 0;
    for (int t = 0; t < tokens; ++t)
      for (int r = t % 3; r < rows; r += 3) {
        const auto [want, size] = p.oracle(t, r);
        worst = std::max(worst, std::abs(got[std::size_t(t) * rows + r] - want) / (size * 0x1p-16 + 1e-6));
        if (!std::isfinite(got[std::size_t(t) * rows + r])) worst = INFINITY;
      }
    BOOST_TEST(worst <= 1.0, "tokens " << tokens << " worst " << worst);
  }
}

BOOST_AUTO_TEST_CASE(a_row_has_the_same_bits_alone_and_in_any_batch) {
  for (int cols : {128, 256, 512, 1536, 7168}) {
    const fp8_problem p(144, cols, 130);
    const auto all = p.run(0, 130);
    for (int first : {0, 5, 64, 129})
      for (int count : {1, 9, 20, 40})
        if (first + count <= 130)
          BOOST_TEST(std::memcmp(p.run(first, count).data(), &all[std::size_t(first) * 144],
                                 std::size_t(count) * 144 * 4) == 0);
  }
}

/// One matrix per head, strided inputs and outputs, as absorbed MLA uses it; and per-group token counts.
BOOST_DATA_TEST_CASE(bf16_groups_match_double, boost::unit_test::data::make({64, 128, 512, 1088}), cols) {
  random_bytes random;
  const int groups = 3, rows = 48, tokens = 37, pitch = groups * cols + 64, y_pitch = groups * rows + 16;
  const auto w = random.bf16(std::size_t(groups) * rows * cols, 1), x = random.bf16(std::size_t(tokens) * pitch, 1);
  const std::vector<int> counts{37, 0, 10};
  const test::device_buffer<std::uint16_t> d_w(w), d_x(x), y(std::size_t(tokens) * y_pitch);
  const test::device_buffer<int> d_counts(counts);
  linear_args args;
  args.weights = d_w.get(), args.x = d_x.get(), args.y = y.get(), args.out = linear_out::bf16;
  args.x_pitch = pitch, args.x_group = cols, args.y_pitch = y_pitch, args.y_group = rows;
  args.rows = rows, args.cols = cols, args.tokens = tokens, args.groups = groups, args.group_tokens = d_counts.get();
  BOOST_REQUIRE_EQUAL(linear(args, nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);

  const auto got = y.host();
  double worst = 0;
  for (int t = 0; t < tokens; ++t)
    for (int g = 0; g < groups; ++g)
      for (int r = 0; r < rows; ++r) {
        const auto bits = got[std::size_t(t) * y_pitch + g * rows + r];
        if (t >= counts[g]) {
          if (bits != 0xFFFF) worst = INFINITY; // written where nothing belongs
          continue;
        }
        double want = 0;
        for (int k = 0; k < cols; ++k)
          want += double(bf16_to_float(w[(std::size_t(g) * rows + r) * cols + k])) *
                  bf16_to_float(x[std::size_t(t) * pitch + g * cols + k]);
        const double error = std::abs(bf16_to_float(bits) - want) / (std::abs(want) / 256 + 1e-3 * std::sqrt(cols));
        worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
      }
  BOOST_TEST(worst <= 1.0);
}

BOOST_AUTO_TEST_CASE(bias_and_residual_are_added) {
  random_bytes random;
  const auto w = random.bf16(32 * 64, 1), x = random.bf16(64, 1);
  const std::vector<float> bias(32, 3.0f), old(32, 100.0f);
  const test::device_buffer<std::uint16_t> d_w(w), d_x(x);
  const test::device_buffer<float> d_bias(bias), y(32), sum(old);
  linear_args args;
  args.weights = d_w.get(), args.x = d_x.get(), args.y = y.get(), args.x_pitch = 64, args.y_pitch = 32;
  args.rows = 32, args.cols = 64, args.tokens = 1;
  BOOST_REQUIRE_EQUAL(linear(args, nullptr), cudaSuccess);
  args.y = sum.get(), args.bias = d_bias.get(), args.out = linear_out::add_f32;
  BOOST_REQUIRE_EQUAL(linear(args, nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);

  const auto plain = y.host(), added = sum.host();
  for (int r = 0; r < 32; ++r) BOOST_TEST(added[r] == (plain[r] + 3.0f) + 100.0f);
}

/// Every e4m3 code, subnormals included, arrives exactly: each weight row holds one code once.
BOOST_AUTO_TEST_CASE(fp8_codes_are_widened_exactly) {
  std::vector<std::uint8_t> w(256 * 128, 0);
  for (int code = 0; code < 256; ++code) w[std::size_t(code) * 128 + code % 128] = static_cast<std::uint8_t>(code);
  const std::vector<std::uint16_t> x(128, float_to_bf16(1));
  const std::vector<float> scales(2, 0.5f);
  const test::device_buffer<std::uint8_t> d_w(w);
  const test::device_buffer<std::uint16_t> d_x(x);
  const test::device_buffer<float> d_scales(scales), y(256);
  linear_args args;
  args.weights = d_w.get(), args.scales = d_scales.get(), args.x = d_x.get(), args.y = y.get();
  args.x_pitch = 128, args.y_pitch = 256, args.rows = 256, args.cols = 128, args.tokens = 1;
  BOOST_REQUIRE_EQUAL(linear(args, nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);

  const auto got = y.host();
  for (int code = 0; code < 256; ++code)
    if ((code & 0x7F) != 0x7F) BOOST_TEST(got[code] == 0.5f * f8_e4m3_to_float(static_cast<std::uint8_t>(code)));
}

BOOST_AUTO_TEST_SUITE_END()
