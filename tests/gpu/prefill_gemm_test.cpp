// The FP8 product of many rows against the W8A8 emulation in double; SwiGLU with quantisation against fp32.
#include "kernels/cuda/prefill_gemm.hpp"
#include "tests/gpu/device_buffer.hpp"
#include "tests/gpu/fp8_random.hpp"

#include <algorithm>

using namespace troupe;
using namespace troupe::cuda;
using kernels::bf16_to_float;

namespace {

struct product {
  std::vector<int> segments; // experts + 1
  int rows, outputs, cols, pitch;
  std::vector<std::uint8_t> x, weights;
  std::vector<float> x_scales, weight_scales;

  product(std::vector<int> s, int rows, int outputs, int cols, unsigned seed)
      : segments(std::move(s)), rows(rows), outputs(outputs), cols(cols), pitch((rows + 3) / 4 * 4 + 4) {
    test::fp8_random random(seed);
    x = random.values(std::size_t(rows) * cols);
    weights = random.values(std::size_t(experts()) * outputs * cols);
    x_scales = random.scales(std::size_t(cols / 128) * pitch, cols);
    weight_scales = random.scales(std::size_t(experts()) * scale_rows() * (cols / 128), cols);
  }
  int experts() const { return int(segments.size()) - 1; }
  int scale_rows() const { return (outputs + 127) / 128; }

  std::vector<std::uint16_t> run() const {
    const test::device_buffer<std::uint8_t> d_x(x), d_w(weights);
    const test::device_buffer<float> d_xs(x_scales), d_ws(weight_scales);
    const test::device_buffer<int> d_segments(segments);
    const test::device_buffer<std::uint16_t> y(std::size_t(rows) * outputs);
    prefill_gemm_args args{d_x.get(), d_xs.get(), d_w.get(), d_ws.get(), d_segments.get(), y.get()};
    args.rows = rows, args.scale_pitch = pitch, args.experts = experts(), args.outputs = outputs, args.cols = cols;
    BOOST_REQUIRE_EQUAL(prefill_gemm(args, nullptr), cudaSuccess);
    BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);
    return y.host();
  }

  double want(int expert, int row, int output) const {
    const std::size_t w = std::size_t(expert) * outputs + output;
    return test::scaled_dot(&weights[w * cols], &weight_scales[(expert * scale_rows() + output / 128) * (cols / 128)],
                            &x[std::size_t(row) * cols], &x_scales[row], pitch, cols);
  }
};

// Every row with `samples` random outputs, the first and the last among them.
void check(const product& p, int samples) {
  const auto y = p.run();
  std::mt19937 pick(7);
  double worst = 0;
  for (int e = 0; e < p.experts(); ++e)
    for (int r = p.segments[e]; r < p.segments[e + 1]; ++r)
      for (int i = 0; i < samples; ++i) {
        const int n = i == 0 ? 0 : i == 1 ? p.outputs - 1 : int(pick() % p.outputs);
        const double want = p.want(e, r, n), got = bf16_to_float(y[std::size_t(r) * p.outputs + n]);
        const double error = std::abs(got - want) / (std::abs(want) / 128 + 2e-3);
        worst = error <= worst ? worst : error; // NaN counts
      }
  BOOST_TEST(worst <= 1.0);
  for (int r = 0; r < p.rows; ++r)
    if (r < p.segments.front() || r >= p.segments.back())
      BOOST_REQUIRE_EQUAL(y[std::size_t(r) * p.outputs], 0xFFFF); // still poisoned
}

} // namespace

BOOST_AUTO_TEST_SUITE(prefill_gemm, *boost::unit_test::precondition(test::needs_hopper))

// Segments around the tile of 256 rows, empty ones among them, from a row that no alignment helps.
BOOST_AUTO_TEST_CASE(segments_of_any_size_match_the_emulation) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);

  check(product({3, 3, 4, 259, 515, 772, 772, 901}, 905, 384, 256, seed), 12);
}

BOOST_AUTO_TEST_CASE(outputs_need_not_fill_a_tile) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);

  for (int outputs : {8, 120, 128, 136, 576}) check(product({0, 5, 300}, 300, outputs, 128, seed), 12);
}

BOOST_AUTO_TEST_CASE(r1_dimensions_match_the_emulation) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);

  check(product({0, 513, 520}, 520, 4096, 7168, seed), 3);
  check(product({0, 130}, 130, 7168, 2048, seed), 6);
}

BOOST_AUTO_TEST_CASE(rows_do_not_depend_on_their_neighbours) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  product p({0, 700}, 700, 256, 1024, seed);
  const auto full = p.run();
  p.segments = {533, 534};
  const auto alone = p.run();

  BOOST_TEST(std::equal(&alone[533 * 256], &alone[533 * 256] + 256, &full[533 * 256]));
}

BOOST_AUTO_TEST_CASE(swiglu_is_quantised_as_the_model_says) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  test::fp8_random random(seed);
  const int rows = 37, width = 384, pitch = 40;
  std::vector<std::uint16_t> h(std::size_t(rows) * 2 * width);
  for (auto& v : h) v = kernels::float_to_bf16(random.uniform(-4, 4));
  const test::device_buffer<std::uint16_t> d_h(h);
  const test::device_buffer<std::uint8_t> middle(std::size_t(rows) * width);
  const test::device_buffer<float> scales(std::size_t(width / 128) * pitch);
  BOOST_REQUIRE_EQUAL(swiglu_quantise(d_h.get(), rows, width, pitch, middle.get(), scales.get(), nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);

  const auto q = middle.host();
  const auto s = scales.host();
  double worst = 0;
  for (int r = 0; r < rows; ++r)
    for (int i = 0; i < width; ++i) {
      const double g = bf16_to_float(h[std::size_t(r) * 2 * width + i]),
                   u = bf16_to_float(h[std::size_t(r) * 2 * width + width + i]), want = g / (1 + std::exp(-g)) * u;
      const double scale = s[std::size_t(i / 128) * pitch + r];
      const double got = kernels::f8_e4m3_to_float(q[std::size_t(r) * width + i]) * scale;
      const double error = std::abs(got - want) / (std::abs(want) / 15 + scale * 0x1p-9);
      worst = error <= worst ? worst : error;
    }
  BOOST_TEST(worst <= 1.0);
}

BOOST_AUTO_TEST_SUITE_END()
