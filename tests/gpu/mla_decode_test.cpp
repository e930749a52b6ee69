// MLA decode against plain attention in double over the same cache, and over 656-byte entries bit by bit against a bf16
// cache of the values they hold.
#include "kernels/cuda/mla_decode.hpp"
#include "kernels/ref/attention.hpp"
#include "kernels/ref/cache.hpp"
#include "kernels/tensor_type.hpp"
#include "tests/gpu/device_buffer.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>

using namespace troupe;
using namespace troupe::cuda;
using kernels::bf16_to_float;

namespace {

struct problem {
  int requests, queries, heads, table_pages;
  std::vector<int> lengths, tables;
  std::vector<std::uint16_t> q, cache;
  std::vector<std::uint8_t> codes; ///< the same values in fp8_ds_mla, once hold_codes() was called
  float scale = 0.1352337788608801f;

  problem(std::vector<int> l, int queries, int heads, unsigned seed)
      : requests(int(l.size())), queries(queries), heads(heads), lengths(std::move(l)) {
    std::mt19937 random(seed);
    table_pages = (*std::max_element(lengths.begin(), lengths.end()) + mla_page - 1) / mla_page;
    tables.resize(std::size_t(requests) * table_pages);
    std::iota(tables.begin(), tables.end(), 0);
    std::shuffle(tables.begin(), tables.end(), random);
    std::normal_distribution<float> normal;
    q.resize(std::size_t(requests) * queries * heads * mla_entry);
    for (auto& v : q) v = kernels::float_to_bf16(0.3f * normal(random));
    cache.resize(tables.size() * mla_page * mla_entry);
    for (auto& v : cache) v = kernels::float_to_bf16(normal(random));
  }

  /// Every code but NaN, and scales from `scale_of`, in place of the cache's values.
  void hold_codes(unsigned seed, const std::function<float(std::mt19937&)>& scale_of) {
    std::mt19937 random(seed);
    constexpr int bytes = mla_entry_bytes(cache_format::fp8_ds_mla);
    codes.resize(cache.size() / mla_entry * bytes);
    for (std::size_t position = 0; position < cache.size() / mla_entry; ++position) {
      auto* entry = &codes[position * bytes];
      auto* values = &cache[position * mla_entry];
      for (int i = 0; i < mla_latent; ++i) do
          entry[i] = std::uint8_t(random());
        while ((entry[i] & 0x7F) == 0x7F);
      for (int g = 0; g < mla_latent / 128; ++g) {
        const float s = scale_of(random);
        std::memcpy(entry + mla_latent + 4 * g, &s, 4);
      }
      std::memcpy(entry + bytes - 128, values + mla_latent, 128);
      const auto exact = kernels::ref::cached_values({entry, entry + bytes}, mla_latent, 64);
      for (int i = 0; i < mla_latent; ++i) values[i] = kernels::float_to_bf16(float(exact[i]));
    }
  }

  std::vector<double> key(int request, int position) const {
    const int page = tables[std::size_t(request) * table_pages + position / mla_page];
    const auto* values = &cache[(std::size_t(page) * mla_page + position % mla_page) * mla_entry];
    std::vector<double> k;
    for (int i = 0; i < mla_entry; ++i) k.push_back(bf16_to_float(values[i]));
    return k;
  }

  std::vector<double> oracle(int request, int query, int head) const {
    std::vector<double> row;
    for (int i = 0; i < mla_entry; ++i)
      row.push_back(bf16_to_float(q[((std::size_t(request) * queries + query) * heads + head) * mla_entry + i]));
    std::vector<std::vector<double>> seen;
    for (int p = 0; p < lengths[request] - queries + query + 1; ++p) seen.push_back(key(request, p));
    return kernels::ref::absorbed_mla(row, seen, mla_latent, scale);
  }

  std::vector<std::uint16_t> run_by_length(kernel_path path, cache_format format = cache_format::plain) const {
    return run(mla_splits_most(table_pages), path, true, format);
  }
  std::vector<std::uint16_t> run(int splits, kernel_path path, bool by_length = false,
                                 cache_format format = cache_format::plain) const {
    const test::device_buffer<std::uint16_t> d_q(q), d_cache(cache), out(q.size() / mla_entry * mla_latent);
    const test::device_buffer<std::uint8_t> d_codes(codes);
    const test::device_buffer<int> d_tables(tables), d_lengths(lengths);
    const std::size_t rows = q.size() / mla_entry;
    const test::device_buffer<float> partial_out(splits * rows * mla_latent), partial_lse(splits * rows);
    mla_decode_args args;
    args.q = d_q.get(), args.tables = d_tables.get(), args.lengths = d_lengths.get(), args.format = format;
    args.cache = d_cache.get();
    if (format == cache_format::fp8_ds_mla) args.cache = d_codes.get();
    args.out = out.get(), args.partial_out = partial_out.get(), args.partial_lse = partial_lse.get(),
    args.scale = scale;
    args.requests = requests, args.queries = queries, args.heads = heads, args.pages = int(tables.size());
    args.table_pages = table_pages, args.splits = splits, args.by_length = by_length;
    BOOST_REQUIRE_EQUAL(mla_decode(args, nullptr, path), cudaSuccess);
    BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);
    return out.host();
  }

  std::vector<std::uint16_t> run_codes(int splits, kernel_path path) const {
    return run(splits, path, false, cache_format::fp8_ds_mla);
  }

  // ||out - oracle|| / ||oracle|| over every `step`-th row; NaN never passes.
  double error(const std::vector<std::uint16_t>& out, int step) const {
    double difference = 0, norm = 0;
    for (int row = 0; row < requests * queries * heads; row += step) {
      const auto want = oracle(row / (queries * heads), row / heads % queries, row % heads);
      for (int i = 0; i < mla_latent; ++i) {
        const double got = bf16_to_float(out[std::size_t(row) * mla_latent + i]);
        difference += (got - want[i]) * (got - want[i]), norm += want[i] * want[i];
      }
    }
    return std::sqrt(difference / norm);
  }
};

/// Values of a code with these are about one.
float power_of_two(std::mt19937& random) { return std::ldexp(1.0f, -9 + int(random() % 4)); }

} // namespace

BOOST_AUTO_TEST_SUITE(mla_decode, *boost::unit_test::precondition(test::needs_gpu))

BOOST_DATA_TEST_CASE(matches_plain_attention,
                     boost::unit_test::data::make({1, 16, 17, 64, 128}) * boost::unit_test::data::make({1, 2, 4}),
                     heads, queries) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  const problem p({queries, 31, 32, 33, 63, 64, 65, 127, 128, 129, 500}, queries, heads, seed);

  for (const auto path : test::paths_here())
    for (int splits : {1, 2, 5})
      BOOST_TEST(p.error(p.run(splits, path), std::max(1, heads / 4)) < 6e-3,
                 "splits " << splits << " path " << int(path));
}

BOOST_AUTO_TEST_CASE(long_contexts_match) {
  const problem p({4096, 3001}, 1, 128, 11);

  for (const auto path : test::paths_here())
    for (int splits : {1, 16}) BOOST_TEST(p.error(p.run(splits, path), 37) < 6e-3, "path " << int(path));
}

// Bits of a request do not depend on its neighbours in the batch (contract 2), given the split plan.
BOOST_AUTO_TEST_CASE(requests_do_not_depend_on_their_neighbours) {
  const problem many({200, 200, 200, 200}, 1, 128, 5);
  problem one = many;
  one.requests = 1, one.lengths.resize(1);
  one.q.resize(many.q.size() / 4);

  for (const auto path : test::paths_here()) {
    const auto all = many.run(2, path), alone = one.run(2, path);
    BOOST_TEST(std::equal(alone.begin(), alone.end(), all.begin()), "path " << int(path));
  }
}

BOOST_DATA_TEST_CASE(codes_give_the_bits_of_their_values_in_bf16,
                     boost::unit_test::data::make({1, 16, 17, 128}) * boost::unit_test::data::make({1, 2, 4}), heads,
                     queries) {
  const unsigned seed = std::random_device{}();
  BOOST_TEST_MESSAGE("seed=" << seed);
  problem p({queries, 31, 32, 33, 63, 64, 65, 127, 128, 129, 193, 500}, queries, heads, seed);
  p.hold_codes(seed + 1, power_of_two);

  for (const auto path : test::paths_here())
    for (int splits : {1, 2, 5}) {
      const auto got = p.run_codes(splits, path);
      BOOST_TEST((got == p.run(splits, path)), "splits " << splits << " path " << int(path));
      BOOST_TEST(p.error(got, std::max(1, heads / 2)) < 6e-3, "splits " << splits << " path " << int(path));
    }
}

BOOST_AUTO_TEST_CASE(long_contexts_of_codes_match_and_do_not_depend_on_their_neighbours) {
  problem p({4096, 3001, 700, 2049}, 1, 128, std::random_device{}());
  p.hold_codes(3, power_of_two);
  problem one = p;
  one.requests = 1, one.lengths.resize(1), one.q.resize(p.q.size() / 4);

  for (const auto path : test::paths_here()) {
    const auto all = p.run_by_length(path, cache_format::fp8_ds_mla);
    const auto alone = one.run_by_length(path, cache_format::fp8_ds_mla);
    BOOST_TEST(p.error(all, 67) < 6e-3, "path " << int(path));
    BOOST_TEST((all == p.run_by_length(path)), "path " << int(path));
    BOOST_TEST(std::equal(alone.begin(), alone.end(), all.begin()), "path " << int(path));
  }
}

/// As others write them: the largest channel over 448.
BOOST_AUTO_TEST_CASE(scales_need_not_be_powers_of_two) {
  problem p({65, 500}, 1, 16, std::random_device{}());
  p.hold_codes(4, [](std::mt19937& random) { return std::uniform_real_distribution<float>(0.002f, 0.01f)(random); });

  for (const auto path : test::paths_here()) BOOST_TEST(p.error(p.run_codes(1, path), 1) < 1e-2, "path " << int(path));
}

// A request alone has its columns divided among CTAs, one in a full GPU has not.
BOOST_AUTO_TEST_CASE(requests_do_not_depend_on_how_full_the_gpu_is) {
  const problem many(std::vector<int>(80, 200), 1, 128, 6);
  problem one = many;
  one.requests = 1, one.lengths.resize(1);
  one.q.resize(many.q.size() / 80);

  for (const auto path : test::paths_here())
    for (int splits : {1, 2}) {
      const auto all = many.run(splits, path), alone = one.run(splits, path);
      BOOST_TEST(std::equal(alone.begin(), alone.end(), all.begin()), "splits " << splits << " path " << int(path));
    }
}

BOOST_AUTO_TEST_CASE(requests_may_be_split_by_their_own_lengths) {
  const problem p({1, 256, 257, 900, 2048, 2049, 3000}, 1, 16, 12);
  problem shorter = p; // without the longest, whose table and splits are more
  shorter.requests = 4, shorter.lengths.resize(4), shorter.q.resize(p.q.size() / 7 * 4);
  for (const auto path : test::paths_here()) {
    const auto all = p.run_by_length(path), some = shorter.run_by_length(path);
    BOOST_TEST(p.error(all, 5) < 6e-3, "path " << int(path));
    BOOST_TEST(std::equal(some.begin(), some.end(), all.begin()), "path " << int(path));
  }
  BOOST_TEST(mla_splits_most(17) == 5);
  BOOST_TEST(mla_splits_most(33) == 8);
  BOOST_TEST(mla_splits_most(1024) == 64);
}

BOOST_AUTO_TEST_CASE(splits_fill_the_machine_but_never_below_two_pages) {
  BOOST_TEST(mla_decode_splits(128, 128, 64, 132) == 1);
  BOOST_TEST(mla_decode_splits(1, 128, 64, 132) == 32);
  BOOST_TEST(mla_decode_splits(1, 128, 1024, 132) == 66);
  BOOST_TEST(mla_decode_splits(0, 128, 64, 132) == 1);
}

BOOST_AUTO_TEST_SUITE_END()
