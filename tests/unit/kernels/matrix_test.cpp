#include "kernels/cpu/matrix.hpp"
#include "kernels/ref/dense.hpp"
#include "tests/unit/kernels/support.hpp"

using namespace troupe::kernels;
using namespace troupe::kernels::test;

namespace {

// Rounding errors are bounded by a part of sum |x| |w|: 2^-8 for each operand rounded to bf16; fp32 sums of a few
// hundred terms stay far below 2^-18.
double tolerance(target t) { return t.compute == compute_type::float32 ? 0x1p-18 : 0x1p-7 + 0x1p-18; }

std::vector<float> multiply(thread_pool& pool, const matrix& m, const std::vector<float>& x, std::int64_t n) {
  std::vector<float> y(static_cast<std::size_t>(n * m.rows()), poison);
  m.multiply(pool, x.data(), m.cols(), n, y.data(), m.rows());
  return y;
}

struct sizes {
  std::int64_t n, rows, cols;
};

/// On every target.
void check_against_reference(random_source& random, thread_pool& pool, tensor_type type, const sizes& size,
                             std::int64_t block = 128) {
  const auto w = make_weights(random, type, size.rows, size.cols, block);
  const auto x = random.normals(size.n * size.cols);
  const auto weights = ref::dequantize(w.view);
  const auto want = ref::matmul(as_doubles(x), size.n, weights, size.rows);
  const auto magnitude = ref::matmul(absolute(as_doubles(x)), size.n, absolute(weights), size.rows);
  for (const auto t : targets()) {
    const auto y = multiply(pool, matrix(w.view, t), x, size.n);

    double worst = 0;
    for (std::size_t i = 0; i < want.size(); ++i)
      worst = std::isfinite(y[i]) ? std::max(worst, std::abs(y[i] - want[i]) / magnitude[i]) : 1e9;
    BOOST_TEST(worst < tolerance(t), describe(t) << " type " << int(type) << " n " << size.n << " rows " << size.rows
                                                 << " cols " << size.cols << " error " << worst);
  }
}

} // namespace

BOOST_AUTO_TEST_SUITE(matrix)

BOOST_AUTO_TEST_CASE(equals_the_reference_around_tile_edges) {
  random_source random;
  thread_pool pool(2);
  for (const auto type : {tensor_type::f32, tensor_type::bf16, tensor_type::f16, tensor_type::f8_e4m3})
    for (const std::int64_t n : {0, 1, 3, 15, 16, 17, 31, 32, 33})
      for (const std::int64_t rows : {1, 31, 32, 33, 127, 128, 129})
        check_against_reference(random, pool, type, {n, rows, random.integer(1, 300)});
}

BOOST_AUTO_TEST_CASE(equals_the_reference_on_many_rows_and_odd_widths) {
  random_source random;
  thread_pool pool(2);
  for (const auto type : {tensor_type::f32, tensor_type::bf16, tensor_type::f8_e4m3})
    for (const auto& size : {sizes{259, 100, 1000}, {70, 12, 259}, {5, 24, 12}, {600, 33, 300}})
      check_against_reference(random, pool, type, size);
}

BOOST_AUTO_TEST_CASE(takes_any_fp8_block_size) {
  random_source random;
  thread_pool pool(1);
  for (const std::int64_t block : {16, 32, 48, 64, 96, 128, 256, 512})
    check_against_reference(random, pool, tensor_type::f8_e4m3, {3, 300, 600}, block);
}

BOOST_AUTO_TEST_CASE(decodes_every_fp8_code_exactly) {
  thread_pool pool(1);
  std::vector<std::byte> codes(256);
  for (int i = 0; i < 256; ++i) codes[i] = static_cast<std::byte>(i);
  const weight_view w{tensor_type::f8_e4m3, codes.data(), 256, 1, nullptr, 128, 128};
  for (const auto t : targets()) {
    const auto y = multiply(pool, troupe::kernels::matrix(w, t), {1.0f}, 1);

    for (int i = 0; i < 256; ++i) {
      const float want = f8_e4m3_to_float(static_cast<std::uint8_t>(i));
      BOOST_TEST((std::isnan(want) ? std::isnan(y[i]) : y[i] == want), describe(t) << " code " << i << " is " << y[i]);
    }
  }
}

// A row alone, in a batch of any size at any place, with any number of threads: the same bits.
BOOST_AUTO_TEST_CASE(a_row_does_not_see_its_batch) {
  random_source random;
  for (const auto t : targets())
    for (const auto type : {tensor_type::f32, tensor_type::bf16, tensor_type::f8_e4m3}) {
      const auto rows = random.integer(1, 200), cols = random.integer(1, 1500);
      const auto w = make_weights(random, type, rows, cols);
      const troupe::kernels::matrix m(w.view, t);
      const std::int64_t n_max = 600;
      const auto x = random.normals(n_max * cols);
      thread_pool alone(1);
      const auto want = multiply(alone, m, x, 1);
      for (const std::int64_t n : {2, 8, 15, 16, 17, 32, 40, 512, 600}) {
        thread_pool pool(static_cast<int>(random.integer(1, 4)));
        const auto place = random.integer(0, n - 1);
        auto batch = std::vector<float>(x.begin() + cols, x.begin() + (n + 1 > n_max ? n_max : n + 1) * cols);
        batch.resize(static_cast<std::size_t>(n * cols), 1.0f);
        std::copy_n(x.begin(), cols, batch.begin() + place * cols);

        const auto y = multiply(pool, m, batch, n);

        BOOST_TEST(same_bits(y.data() + place * rows, want.data(), rows),
                   describe(t) << " type " << int(type) << " n " << n << " place " << place);
      }
    }
}

BOOST_AUTO_TEST_CASE(gathers_rows_in_the_order_asked_for) {
  random_source random;
  thread_pool pool(2);
  const std::int64_t cols = 70;
  const auto w = make_weights(random, tensor_type::bf16, 40, cols);
  const auto x = random.normals(5 * cols);
  const std::vector<std::int32_t> rows{4, 0, 4};
  for (const auto t : targets()) {
    const troupe::kernels::matrix m(w.view, t);
    const auto all = multiply(pool, m, x, 5);
    packed_rows packed(t);
    packed.gather(row_view::of(x.data(), cols), rows, cols);
    std::vector<float> y(3 * 40, poison);

    m.multiply(pool, packed, y.data(), 40);

    for (std::size_t i = 0; i < rows.size(); ++i)
      BOOST_TEST(same_bits(y.data() + i * 40, all.data() + rows[i] * 40, 40));
  }
}

BOOST_AUTO_TEST_SUITE_END()
