#include "kernels/cpu/expert_ffn.hpp"
#include "kernels/ref/dense.hpp"
#include "tests/unit/kernels/support.hpp"

#include <numeric>

using namespace troupe::kernels;
using namespace troupe::kernels::test;

namespace {

struct expert_fixture {
  random_weights gate, up, down;

  expert_fixture(random_source& random, tensor_type type, std::int64_t hidden, std::int64_t width)
      : gate(make_weights(random, type, width, hidden)), up(make_weights(random, type, width, hidden)),
        down(make_weights(random, type, hidden, width)) {}

  ffn_weights pack(target t) const { return {matrix(gate.view, t), matrix(up.view, t), matrix(down.view, t)}; }
};

// Worst output of a row, in units of the row's rms; a bf16 input and a bf16 product are rounded on the way.
double tolerance(target t) { return t.compute == compute_type::float32 ? 1e-4 : 0.1; }

std::byte* bytes(std::vector<float>& values) { return reinterpret_cast<std::byte*>(values.data()); }

std::vector<float> run_alone(const ffn_weights& weights, target t, const float* x, std::int64_t hidden, int threads) {
  thread_pool pool(threads);
  const std::int32_t row = 0;
  std::vector<float> y(static_cast<std::size_t>(hidden), poison);
  const ffn_job job{&weights, {&row, 1}, bytes(y)};
  expert_ffn(t).run(pool, row_view::of(x, hidden), {&job, 1});
  return y;
}

} // namespace

BOOST_AUTO_TEST_SUITE(expert_ffn)

BOOST_AUTO_TEST_CASE(equals_the_reference) {
  random_source random;
  thread_pool pool(2);
  for (const auto t : targets())
    for (const auto type : {tensor_type::f32, tensor_type::bf16, tensor_type::f8_e4m3})
      for (const auto& [hidden, width, n] : {std::tuple{64, 24, 0},
                                             {64, 24, 1},
                                             {129, 33, 15},
                                             {100, 128, 16},
                                             {256, 96, 17},
                                             {96, 64, 33},
                                             {32, 32, 300}}) {
        const expert_fixture expert(random, type, hidden, width);
        const auto weights = expert.pack(t);
        const auto x = random.normals(n * hidden, 0.1f);
        const auto want = ref::swiglu(as_doubles(x), n, expert.gate.view, expert.up.view, expert.down.view);
        std::vector<std::int32_t> rows(static_cast<std::size_t>(n));
        std::iota(rows.begin(), rows.end(), 0);
        std::vector<float> y(static_cast<std::size_t>(n * hidden), poison);
        const ffn_job job{&weights, rows, bytes(y)};

        troupe::kernels::expert_ffn(t).run(pool, row_view::of(x.data(), hidden), {&job, 1});

        for (std::int64_t r = 0; r < n; ++r) {
          const std::vector<double> row(want.begin() + r * hidden, want.begin() + (r + 1) * hidden);
          const double error = largest_error(y.data() + r * hidden, row, root_mean_square(row));
          BOOST_TEST(error < tolerance(t), describe(t) << " type " << int(type) << " hidden " << hidden << " width "
                                                       << width << " row " << r << " of " << n << " error " << error);
        }
      }
}

// Many experts, each with its own rows, some with none: every (row, expert) result has the bits it has alone.
BOOST_AUTO_TEST_CASE(a_row_of_an_expert_does_not_see_the_others) {
  random_source random;
  const std::int64_t hidden = 160, width = 96, tokens = 40, experts = 5;
  for (const auto t : targets())
    for (const auto type : {tensor_type::bf16, tensor_type::f8_e4m3}) {
      std::vector<ffn_weights> weights;
      for (int e = 0; e < experts; ++e) weights.push_back(expert_fixture(random, type, hidden, width).pack(t));
      const auto x = random.normals(tokens * hidden);
      std::vector<std::vector<std::int32_t>> rows(experts);
      for (int e = 1; e < experts; ++e) // expert 0 gets nothing
        for (std::int32_t r = 0; r < tokens; ++r)
          if (random.integer(0, 2) == 0) rows[e].push_back(r);
      std::vector<std::vector<float>> y;
      std::vector<ffn_job> jobs;
      for (int e = 0; e < experts; ++e) {
        y.emplace_back(rows[e].size() * hidden, poison);
        jobs.push_back({&weights[e], rows[e], bytes(y[e])});
      }
      thread_pool pool(static_cast<int>(random.integer(1, 4)));

      troupe::kernels::expert_ffn(t).run(pool, row_view::of(x.data(), hidden), jobs);

      for (int e = 0; e < experts; ++e)
        for (std::size_t i = 0; i < rows[e].size(); ++i) {
          const auto alone = run_alone(weights[e], t, x.data() + rows[e][i] * hidden, hidden, 2);
          BOOST_TEST(same_bits(y[e].data() + i * hidden, alone.data(), hidden),
                     describe(t) << " expert " << e << " row " << rows[e][i]);
        }
    }
}

// What a shard gets and answers: bf16 rows give the bits of the same values in fp32, rounded at the end.
BOOST_AUTO_TEST_CASE(takes_and_gives_bf16_rows) {
  random_source random;
  thread_pool pool(2);
  for (const auto t : targets())
    for (const std::int64_t n : {1, 7, 16, 40}) {
      const std::int64_t hidden = 72, width = 40, tokens = 50;
      const auto weights = expert_fixture(random, tensor_type::bf16, hidden, width).pack(t);
      auto x = random.normals(tokens * hidden);
      std::vector<std::uint16_t> x16(x.size());
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = bf16_to_float(x16[i] = float_to_bf16(x[i]));
      std::vector<std::int32_t> rows;
      for (std::int64_t i = 0; i < n; ++i) rows.push_back(static_cast<std::int32_t>(random.integer(0, tokens - 1)));
      std::vector<float> y(static_cast<std::size_t>(n * hidden), poison);
      std::vector<std::uint16_t> y16(y.size(), 0x7fc0);
      const ffn_job wide{&weights, rows, bytes(y)};
      const ffn_job narrow{&weights, rows, reinterpret_cast<std::byte*>(y16.data()), tensor_type::bf16};

      troupe::kernels::expert_ffn(t).run(pool, row_view::of(x.data(), hidden), {&wide, 1});
      const row_view input{reinterpret_cast<const std::byte*>(x16.data()), tensor_type::bf16, hidden};
      troupe::kernels::expert_ffn(t).run(pool, input, {&narrow, 1});

      for (std::size_t i = 0; i < y.size(); ++i)
        BOOST_TEST(y16[i] == float_to_bf16(y[i]), describe(t) << " rows " << n << " element " << i);
    }
}

BOOST_AUTO_TEST_SUITE_END()
