// Prefill attention against plain attention in double over the same bf16 inputs.
#include "kernels/cuda/mla_prefill.hpp"
#include "kernels/tensor_type.hpp"
#include "tests/gpu/device_buffer.hpp"

#include <algorithm>
#include <cmath>
#include <random>

using namespace troupe;
using namespace troupe::cuda;
using kernels::bf16_to_float;

namespace {

struct problem {
  int rows, positions, heads, rope_pitch;
  float scale = 0.1352337788608801f;
  std::vector<std::uint16_t> q, kv, rope;

  problem(int rows, int positions, int heads, int rope_pitch, unsigned seed)
      : rows(rows), positions(positions), heads(heads), rope_pitch(rope_pitch) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const auto fill = [&](std::vector<std::uint16_t>& v, std::size_t n, float size) {
      v.resize(n);
      for (auto& x : v) x = kernels::float_to_bf16(size * normal(random));
    };
    fill(q, std::size_t(rows) * heads * 192, 0.5f), fill(kv, std::size_t(positions) * heads * 256, 1.0f);
    fill(rope, std::size_t(positions) * rope_pitch, 1.0f);
  }

  std::vector<double> oracle(int row, int head) const {
    const auto* x = &q[(std::size_t(row) * heads + head) * 192];
    std::vector<double> scores(positions - rows + row + 1), z(128);
    for (std::size_t p = 0; p < scores.size(); ++p) {
      for (int i = 0; i < 128; ++i) scores[p] += double(bf16_to_float(x[i])) * bf16_to_float(key(p, head)[i]);
      for (int i = 0; i < 64; ++i)
        scores[p] += double(bf16_to_float(x[128 + i])) * bf16_to_float(rope[p * rope_pitch + i]);
      scores[p] *= scale;
    }
    const double peak = *std::max_element(scores.begin(), scores.end());
    double total = 0;
    for (auto& s : scores) total += s = std::exp(s - peak);
    for (std::size_t p = 0; p < scores.size(); ++p)
      for (int i = 0; i < 128; ++i) z[i] += scores[p] / total * bf16_to_float(key(p, head)[128 + i]);
    return z;
  }
  const std::uint16_t* key(std::size_t position, int head) const { return &kv[(position * heads + head) * 256]; }

  std::vector<std::uint16_t> run() const {
    const test::device_buffer<std::uint16_t> d_q(q), d_kv(kv), d_rope(rope), out(std::size_t(rows) * heads * 128);
    mla_prefill_args args{d_q.get(), d_kv.get(), d_rope.get(), out.get(), scale, rows, positions, heads, rope_pitch};
    BOOST_REQUIRE_EQUAL(mla_prefill(args, nullptr), cudaSuccess);
    BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);
    return out.host();
  }
};

void check(const problem& p, int samples) {
  const auto out = p.run();
  for (const auto v : out) BOOST_REQUIRE(std::isfinite(bf16_to_float(v)));
  std::mt19937 pick(7);
  double worst = 0;
  for (int n = 0; n < samples; ++n) {
    const int row = n == 0 ? 0 : n == 1 ? p.rows - 1 : int(pick() % p.rows), head = int(pick() % p.heads);
    const auto want = p.oracle(row, head);
    for (int i = 0; i < 128; ++i)
      worst = std::max(worst, std::abs(bf16_to_float(out[(std::size_t(row) * p.heads + head) * 128 + i]) - want[i]) /
                                  (std::abs(want[i]) / 64 + 2e-2)); // P and o are bf16
  }
  BOOST_TEST(worst <= 1.0);
}

} // namespace

BOOST_AUTO_TEST_SUITE(mla_prefill, *boost::unit_test::precondition(test::needs_hopper))

BOOST_AUTO_TEST_CASE(prompts_of_any_length_match_plain_attention) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  for (int rows : {1, 2, 63, 64, 65, 127, 128, 129, 300, 1000}) check(problem(rows, rows, 3, 64, seed), 40);
}

BOOST_AUTO_TEST_CASE(chunks_see_their_past) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  for (const auto& [rows, past] : {std::pair{1, 127}, {1, 1000}, {64, 64}, {130, 1}, {200, 513}, {129, 127}})
    check(problem(rows, past + rows, 5, 576, seed), 40);
}

BOOST_AUTO_TEST_CASE(r1_heads_match_plain_attention) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  check(problem(260, 600, 128, 64, seed), 200);
}

// The same rows in one chunk and as the head of a longer prompt.
BOOST_AUTO_TEST_CASE(rows_do_not_depend_on_later_rows) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  problem p(700, 700, 2, 64, seed);
  const auto full = p.run();
  p.rows = p.positions = 256;
  p.q.resize(256 * 2 * 192), p.kv.resize(256 * 2 * 256), p.rope.resize(256 * 64);
  const auto head = p.run();

  BOOST_TEST(std::equal(head.begin(), head.end(), full.begin()));
}

BOOST_AUTO_TEST_SUITE_END()
