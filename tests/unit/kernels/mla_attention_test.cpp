#include "kernels/cpu/mla_attention.hpp"
#include "kernels/ref/attention.hpp"
#include "kernels/ref/dense.hpp"
#include "tests/unit/kernels/support.hpp"

#include <algorithm>
#include <numeric>

using namespace troupe::kernels;
using namespace troupe::kernels::test;

namespace {

/// One sequence with random entries, in a pool whose pages are shuffled and whose every other slot is NaN.
struct sequence_fixture {
  mla_shape shape;
  random_weights kv_b;
  std::vector<std::vector<float>> entries; ///< [position][latent | rope]
  std::vector<float> queries;              ///< [position, heads, nope + rope]
  std::vector<std::int32_t> pages;

  sequence_fixture(random_source& random, const mla_shape& s, tensor_type type, std::int64_t tokens) : shape(s) {
    kv_b = make_weights(random, type, s.heads * (s.nope + s.value), s.latent);
    for (std::int64_t t = 0; t < tokens; ++t) entries.push_back(random.normals(s.entry(), 0.3f));
    queries = random.normals(tokens * s.heads * (s.nope + s.rope), 0.3f);
    pages.resize(static_cast<std::size_t>((tokens + cache_page_tokens - 1) / cache_page_tokens) + 2);
    std::iota(pages.begin(), pages.end(), 0);
    for (std::size_t i = pages.size(); i > 1; --i) std::swap(pages[i - 1], pages[random.integer(0, i - 1)]);
  }

  std::int64_t query_width() const { return shape.heads * (shape.nope + shape.rope); }
  std::int64_t output_width() const { return shape.heads * shape.value; }

  std::vector<std::byte> cache(compute_type compute, std::int64_t tokens) const {
    const auto bytes = pages.size() * cache_page_tokens * cache_entry_bytes(shape, compute);
    std::vector<std::byte> pool(bytes, std::byte{0xff}); // NaN in both types
    for (std::int64_t t = 0; t < tokens; ++t)
      write_cache_entry(shape, compute, pool.data(), pages[t / cache_page_tokens], t, entries[t].data(),
                        entries[t].data() + shape.latent);
    return pool;
  }

  /// Rows [first, first + rows) as one chunk, alone in its batch.
  std::vector<float> run(target t, const mla_weights& weights, std::int64_t first, std::int64_t rows,
                         int threads) const {
    thread_pool pool(threads);
    const auto memory = cache(t.compute, first + rows);
    std::vector<float> o(static_cast<std::size_t>(rows * output_width()), poison);
    const mla_sequence sequence{0, rows, first, pages};
    mla_attention(t).run(pool, weights, {&sequence, 1}, memory.data(), queries.data() + first * query_width(),
                         query_width(), o.data(), output_width());
    return o;
  }

  std::vector<double> reference(std::int64_t position) const {
    const auto* q = queries.data() + position * query_width();
    std::vector<std::vector<double>> seen;
    for (std::int64_t s = 0; s <= position; ++s) seen.push_back(as_doubles(entries[s]));
    return ref::mla(shape, kv_b.view, {q, q + query_width()}, seen);
  }
};

const mla_shape tiny{.heads = 4, .nope = 16, .rope = 8, .value = 12, .latent = 16, .scale = 0.2f};
const mla_shape odd{.heads = 3, .nope = 5, .rope = 2, .value = 7, .latent = 37, .scale = 0.3f};
const mla_shape edge{.heads = 8, .nope = 32, .rope = 16, .value = 32, .latent = 128, .scale = 0.14f};
const mla_shape real{.heads = 3, .nope = 128, .rope = 64, .value = 128, .latent = 512, .scale = 0.072f};

double tolerance(target t) { return t.compute == compute_type::float32 ? 1e-4 : 0.08; }

/// Checks a chunk of rows on every target: its first and its last.
void check_rows(const sequence_fixture& f, std::int64_t first, std::int64_t rows) {
  for (std::int64_t r = 0; r < rows; r += std::max<std::int64_t>(1, rows - 1)) {
    const auto want = f.reference(first + r);
    for (const auto t : targets()) {
      const auto o = f.run(t, mla_weights(f.kv_b.view, f.shape, t), first, rows, 2);
      const double error = largest_error(o.data() + r * f.output_width(), want, root_mean_square(want));
      BOOST_TEST(error < tolerance(t),
                 describe(t) << " latent " << f.shape.latent << " position " << first + r << " error " << error);
    }
  }
}

} // namespace

BOOST_AUTO_TEST_SUITE(mla_attention)

BOOST_AUTO_TEST_CASE(equals_the_naive_form) {
  random_source random;
  for (const auto& shape : {tiny, odd, edge})
    for (const auto type : {tensor_type::f32, tensor_type::bf16, tensor_type::f8_e4m3}) {
      const sequence_fixture f(random, shape, type, 140);
      for (const auto& [first, rows] : {std::pair{0, 1}, {0, 3}, {62, 1}, {63, 1}, {63, 2}, {64, 1}, {100, 40}})
        check_rows(f, first, rows);
    }
}

BOOST_AUTO_TEST_CASE(equals_the_naive_form_in_the_dimensions_of_r1) {
  random_source random;
  const sequence_fixture f(random, real, tensor_type::f8_e4m3, 140);
  for (const auto& [first, rows] : {std::pair{0, 1}, {63, 2}, {100, 40}}) check_rows(f, first, rows);
}

BOOST_AUTO_TEST_CASE(equals_the_naive_form_over_many_steps_and_splits) {
  random_source random;
  const sequence_fixture f(random, tiny, tensor_type::bf16, 4200);
  for (const auto& [first, rows] : {std::pair{254, 4}, {2046, 4}, {4095, 1}, {4190, 10}}) check_rows(f, first, rows);
}

// Whatever the chunk a row came in, its batch and the threads: the same bits. Crosses a split and several steps.
BOOST_AUTO_TEST_CASE(a_row_does_not_see_its_chunk) {
  random_source random;
  for (const auto& shape : {tiny, edge, real}) {
    const std::int64_t tokens = 2100;
    const sequence_fixture f(random, shape, tensor_type::bf16, tokens);
    for (const auto t : targets()) {
      const mla_weights weights(f.kv_b.view, f.shape, t);
      const auto position = random.integer(0, tokens - 1);
      const auto alone = f.run(t, weights, position, 1, 1);
      for (int trial = 0; trial < 2; ++trial) {
        const auto first = std::max<std::int64_t>(0, position - random.integer(0, 40));
        const auto rows = std::min(tokens, position + 1 + random.integer(0, 40)) - first;

        const auto o = f.run(t, weights, first, rows, static_cast<int>(random.integer(1, 4)));

        BOOST_TEST(same_bits(o.data() + (position - first) * f.output_width(), alone.data(), f.output_width()),
                   describe(t) << " latent " << shape.latent << " position " << position << " chunk " << first << "+"
                               << rows);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_sequence_does_not_see_its_batch) {
  random_source random;
  const sequence_fixture f(random, edge, tensor_type::bf16, 300);
  thread_pool pool(2);
  for (const auto t : targets()) {
    const mla_weights weights(f.kv_b.view, f.shape, t);
    const auto memory = f.cache(t.compute, 300);
    const std::vector<mla_sequence> batch{
        {0, 1, 299, f.pages}, {1, 0, 5, f.pages}, {1, 30, 70, f.pages}, {31, 1, 0, f.pages}};
    std::vector<float> q(static_cast<std::size_t>(32 * f.query_width()));
    for (const auto& s : batch)
      std::copy_n(f.queries.begin() + s.first_position * f.query_width(), s.rows * f.query_width(),
                  q.begin() + s.first_row * f.query_width());
    std::vector<float> o(static_cast<std::size_t>(32 * f.output_width()), poison);

    troupe::kernels::mla_attention(t).run(pool, weights, batch, memory.data(), q.data(), f.query_width(), o.data(),
                                          f.output_width());

    for (const auto& s : batch) {
      const auto alone = f.run(t, weights, s.first_position, s.rows, 1);
      BOOST_TEST(same_bits(o.data() + s.first_row * f.output_width(), alone.data(), s.rows * f.output_width()),
                 describe(t) << " position " << s.first_position);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
