// Row-wise kernels of the engine against the CPU's, which are tested against transformers.
#include "kernels/cpu/elementwise.hpp"
#include "kernels/cpu/rope.hpp"
#include "kernels/cuda/mla_rows.hpp"
#include "kernels/cuda/rows.hpp"
#include "kernels/ref/cache.hpp"
#include "kernels/tensor_type.hpp"
#include "tests/gpu/device_buffer.hpp"
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

struct random_source {
  std::mt19937_64 random{testing::fresh_seed()};
  std::vector<float> normals(std::size_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> v(count);
    for (auto& x : v) x = normal(random);
    return v;
  }
  std::vector<std::uint16_t> bf16(std::size_t count) {
    std::vector<std::uint16_t> v;
    for (const float x : normals(count)) v.push_back(float_to_bf16(x));
    return v;
  }
};

void done() { BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess); }

/// Within a rounding to bf16, which fp32 noise may tip over.
double bf16_distance(std::uint16_t got, float want) {
  const double difference = std::abs(double(bf16_to_float(got)) - want);
  return std::isfinite(difference) ? difference / (std::abs(want) / 250 + 1e-6) : INFINITY;
}

} // namespace

BOOST_AUTO_TEST_SUITE(engine_rows, *boost::unit_test::precondition(test::needs_gpu))

BOOST_DATA_TEST_CASE(rmsnorm_matches_the_cpu, boost::unit_test::data::make({128, 256, 512, 1536, 7168}), width) {
  random_source random;
  const int rows = 7, picked = 4;
  const auto x = random.normals(std::size_t(rows) * width), w = random.normals(width);
  const std::vector<int> row_of{6, 0, 3, 3};
  const test::device_buffer<float> d_x(x), d_w(w), y32(std::size_t(picked) * width);
  const test::device_buffer<int> d_rows(row_of);
  const test::device_buffer<std::uint16_t> y(std::size_t(picked) * width);
  rmsnorm_args args;
  args.x = d_x.get(), args.x_pitch = width, args.row_of = d_rows.get(), args.weight = d_w.get(), args.tokens = picked;
  args.width = width, args.eps = 1e-6f, args.y = y.get(), args.y_pitch = width, args.y_f32 = y32.get();
  BOOST_REQUIRE_EQUAL(rmsnorm(args, nullptr), cudaSuccess);
  done();

  const auto bits = y.host();
  const auto floats = y32.host();
  std::vector<float> want(width);
  double worst = 0, worst_bf16 = 0;
  for (int t = 0; t < picked; ++t) {
    kernels::rmsnorm(&x[std::size_t(row_of[t]) * width], w.data(), width, 1e-6f, want.data());
    for (int i = 0; i < width; ++i) {
      const auto at = std::size_t(t) * width + i;
      worst = std::max(worst, std::abs(double(floats[at]) - want[i]) / (std::abs(want[i]) * 1e-5 + 1e-7));
      worst_bf16 = std::max(worst_bf16, bf16_distance(bits[at], want[i]));
    }
  }
  BOOST_TEST(worst <= 1.0);
  BOOST_TEST(worst_bf16 <= 1.0);
}

BOOST_AUTO_TEST_CASE(embedding_and_gathers_move_bits) {
  random_source random;
  const int width = 264, tokens = 5;
  const auto table = random.bf16(std::size_t(11) * width);
  const std::vector<int> ids{10, 0, 3, 3, 7}, counts{2, 0, 1}, token_of{4, 5, 9, 9, 9, 9, 1, 9, 9};
  const test::device_buffer<std::uint16_t> d_table(table), gathered(tokens * width), slots(9 * width);
  const test::device_buffer<int> d_ids(ids), d_counts(counts), d_token_of(token_of);
  const test::device_buffer<float> x(tokens * width), wide(tokens * width);
  BOOST_REQUIRE_EQUAL(embed_rows(d_table.get(), d_ids.get(), tokens, width, x.get(), nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(gather_rows(d_table.get(), d_ids.get(), tokens, width, gathered.get(), nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(widen_rows(gathered.get(), tokens * width, wide.get(), nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(gather_slots(d_table.get(), d_token_of.get(), d_counts.get(), 3, 3, width, slots.get(), nullptr),
                      cudaSuccess);
  done();

  const auto floats = x.host();
  const auto bits = gathered.host(), in_slots = slots.host();
  int wrong = 0;
  for (int t = 0; t < tokens; ++t)
    for (int i = 0; i < width; ++i) {
      const auto want = table[std::size_t(ids[t]) * width + i];
      wrong += floats[t * width + i] != bf16_to_float(want) || bits[t * width + i] != want;
    }
  for (const auto& [slot, token] : {std::pair{0, 4}, {1, 5}, {6, 1}})
    wrong += !std::equal(&in_slots[slot * width], &in_slots[slot * width] + width, &table[token * width]);
  BOOST_TEST(wrong == 0);
  BOOST_TEST((wide.host() == floats));
}

BOOST_AUTO_TEST_CASE(swiglu_matches_the_cpu) {
  random_source random;
  const int groups = 2, pitch = 3, width = 132;
  const std::vector<int> counts{3, 1};
  const auto gate_up = random.normals(std::size_t(groups) * pitch * 2 * width);
  const test::device_buffer<float> d_gate_up(gate_up);
  const test::device_buffer<int> d_counts(counts);
  const test::device_buffer<std::uint16_t> h(groups * pitch * width);
  BOOST_REQUIRE_EQUAL(swiglu_rows(d_gate_up.get(), d_counts.get(), groups, 3, pitch, width, h.get(), nullptr),
                      cudaSuccess);
  done();

  const auto got = h.host();
  double worst = 0;
  std::vector<float> want(width);
  for (int row : {0, 1, 2, 3}) {
    const float* g = &gate_up[std::size_t(row) * 2 * width];
    kernels::silu_multiply(g, g + width, width, want.data());
    for (int i = 0; i < width; ++i) worst = std::max(worst, bf16_distance(got[row * width + i], want[i]));
  }
  BOOST_TEST(worst <= 1.0);
  BOOST_TEST(got[4 * width] == 0xFFFF); // a row that nobody asked for stays poisoned
}

/// The order and roundings of moe::combine, so that experts elsewhere give the same bits.
BOOST_AUTO_TEST_CASE(feed_forward_sums_have_the_bits_of_the_host) {
  random_source random;
  const int tokens = 3, hidden = 260, top_k = 4;
  const auto own = random.bf16(tokens * hidden), routed = random.bf16(tokens * top_k * hidden);
  const auto x = random.normals(tokens * hidden), weights = random.normals(tokens * top_k);
  std::vector<int> slots(tokens * top_k);
  for (std::size_t i = 0; i < slots.size(); ++i) slots[i] = int(slots.size() - 1 - i);
  const test::device_buffer<std::uint16_t> d_own(own), d_routed(routed);
  const test::device_buffer<float> d_x(x), d_weights(weights);
  const test::device_buffer<int> d_slots(slots);
  const add_ffn_args args{d_x.get(),       d_own.get(), d_routed.get(), d_slots.get(),
                          d_weights.get(), tokens,      hidden,         top_k};
  BOOST_REQUIRE_EQUAL(add_ffn_rows(args, nullptr), cudaSuccess);
  done();

  std::vector<float> want = x, sum(hidden), row(hidden), out(hidden);
  for (int t = 0; t < tokens; ++t) {
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (int j = 0; j < top_k; ++j) {
      for (int i = 0; i < hidden; ++i) row[i] = bf16_to_float(routed[slots[t * top_k + j] * hidden + i]);
      kernels::add_scaled(row.data(), weights[t * top_k + j], hidden, sum.data());
    }
    for (int i = 0; i < hidden; ++i) out[i] = bf16_to_float(own[t * hidden + i]);
    kernels::add(sum.data(), hidden, out.data());
    kernels::add(out.data(), hidden, &want[t * hidden]);
  }
  BOOST_TEST((d_x.host() == want));
}

/// Outputs of each expert are in one of two memories, at the places of their choices.
BOOST_DATA_TEST_CASE(chosen_rows_are_added_as_slots_are, boost::unit_test::data::make({1, 3, 8, 9, 17}), top_k) {
  random_source random;
  const int tokens = 5, hidden = 1036, experts = 32;
  const auto choices = std::size_t(tokens) * top_k;
  const auto x = random.normals(tokens * hidden), weights = random.normals(choices);
  const auto own = random.bf16(tokens * hidden), one = random.bf16(choices * hidden),
             two = random.bf16(choices * hidden);
  std::vector<int> chosen, slots;
  for (std::size_t i = 0; i < choices; ++i) chosen.push_back(int(random.random() % experts)), slots.push_back(int(i));
  auto routed = one; // as add_ffn_rows wants them
  for (std::size_t i = 0; i < choices; ++i)
    if (chosen[i] % 2) std::copy_n(&two[i * hidden], hidden, &routed[i * hidden]);
  const test::device_buffer<std::uint16_t> d_own(own), d_one(one), d_two(two), d_routed(routed);
  std::vector<const std::uint16_t*> outputs_of;
  for (int e = 0; e < experts; ++e) outputs_of.push_back(e % 2 ? d_two.get() : d_one.get());
  const test::device_buffer<const std::uint16_t*> d_outputs(outputs_of);
  const test::device_buffer<float> d_weights(weights);
  const test::device_buffer<int> d_chosen(chosen), d_slots(slots);
  for (const auto* const added :
       {static_cast<const std::uint16_t*>(nullptr), static_cast<const std::uint16_t*>(d_own.get())}) {
    const test::device_buffer<float> got(x), want(x);
    BOOST_REQUIRE_EQUAL(
        add_chosen_rows({got.get(), added, d_outputs.get(), d_chosen.get(), d_weights.get(), tokens, hidden, top_k},
                        nullptr),
        cudaSuccess);
    BOOST_REQUIRE_EQUAL(
        add_ffn_rows({want.get(), added, d_routed.get(), d_slots.get(), d_weights.get(), tokens, hidden, top_k},
                     nullptr),
        cudaSuccess);
    done();
    BOOST_TEST((got.host() == want.host()));
  }
}

BOOST_AUTO_TEST_CASE(pieces_are_copied_whole_and_no_further) {
  random_source random;
  for (const int count : {1, 3, 4, 5, 1000, 1'000'003}) {
    std::vector<int> from(std::size_t(count) + 4);
    for (auto& v : from) v = int(random.random());
    const test::device_buffer<int> source(from), one(from.size()), two(from.size());
    const std::int64_t bytes = std::int64_t{4} * count;
    BOOST_REQUIRE_EQUAL(
        copy_pieces(
            {{{source.get(), one.get(), bytes}, {}, {source.get(), two.get(), 4}, {source.get(), two.get(), 0}}},
            nullptr),
        cudaSuccess);
    done();
    auto want = from;
    std::fill_n(want.begin() + count, 4, -1);
    BOOST_TEST((one.host() == want));
    std::fill(want.begin() + 1, want.end(), -1);
    BOOST_TEST((two.host() == want));
  }
}

/// Choices of experts without a place, and what is no expert at all, leave their rows alone.
BOOST_DATA_TEST_CASE(owned_choices_are_scattered, boost::unit_test::data::make({0, 1, 7, 64, 513}), choices) {
  random_source random;
  const int experts = 6, width = 264, slots = std::max(1, choices);
  const std::vector<int> place{-1, 0, 1, -1, 2, -1};
  const auto from = random.bf16(std::size_t(slots) * width);
  std::vector<int> chosen, slot_of;
  for (int i = 0; i < choices; ++i) {
    chosen.push_back(int(random.random() % 9) - 1);
    if (i % 5 == 3) chosen.back() = int(random.random());
    const bool owned = chosen.back() >= 0 && chosen.back() < experts && place[chosen.back()] >= 0;
    slot_of.push_back(owned ? int(random.random() % slots) : -1);
  }
  const test::device_buffer<std::uint16_t> d_from(from), to(std::size_t(slots) * width);
  const test::device_buffer<int> d_chosen(chosen), d_place(place), d_slots(slot_of);
  BOOST_REQUIRE_EQUAL(scatter_chosen(d_from.get(), d_chosen.get(), d_place.get(), experts, d_slots.get(), choices,
                                     width, to.get(), nullptr),
                      cudaSuccess);
  done();
  std::vector<std::uint16_t> want(std::size_t(slots) * width, 0xFFFF);
  for (int i = 0; i < choices; ++i)
    if (slot_of[i] >= 0) std::copy_n(&from[std::size_t(slot_of[i]) * width], width, &want[std::size_t(i) * width]);
  BOOST_TEST((to.host() == want));
}

BOOST_DATA_TEST_CASE(argmax_is_the_first_of_the_largest, boost::unit_test::data::make({1, 31, 1000, 129280}), width) {
  random_source random;
  const int count = std::max(1, width - 7);
  auto x = random.normals(std::size_t(6) * width);
  const auto row = [&](int t) { return x.begin() + std::ptrdiff_t(t) * width; };
  for (int i : {count / 3, count - 1, width - 1}) row(1)[i] = 9; // several of the largest, one beyond those that count
  std::fill_n(row(2), count, -INFINITY);
  row(3)[width - 1] = NAN, row(4)[width / 2] = INFINITY;
  const test::device_buffer<float> d_x(x);
  const test::device_buffer<int> ids(7);
  BOOST_REQUIRE_EQUAL(argmax_rows(d_x.get(), 6, width, count, ids.get(), nullptr), cudaSuccess);
  done();

  const auto got = ids.host();
  for (int t : {0, 1, 5}) BOOST_TEST(got[t] == std::max_element(row(t), row(t) + count) - row(t));
  for (int t : {2, 3, 4}) BOOST_TEST(got[t] == -1);
  BOOST_TEST(got[6] == -1); // poison: not written
}

/// Sums of squares are exact, so the norm's bits do not depend on its order: entries of 656 bytes are compared whole.
BOOST_AUTO_TEST_CASE(codes_scales_and_keys_of_an_entry_are_those_of_the_oracle) {
  random_source random;
  const int tokens = 9, pages = 2, bytes = 656;
  std::vector<float> entry(tokens * 576), norm = random.normals(512), cos(tokens * 32, 1.0f), sin(tokens * 32, 0.0f);
  for (auto& x : entry) x = float(int(random.random() % 255) - 127);
  std::fill_n(norm.begin(), 128, 0.0f), norm[140] = NAN, norm[141] = INFINITY;
  for (int i = 256; i < 384; ++i) norm[i] *= std::exp2f(float(i % 32) - 20); // from below the smallest scale on
  std::fill_n(entry.begin(), 512, 0.0f), entry[300] = 4096;                  // the largest that a norm leaves
  const std::vector<int> slots{5, 64 + 63, 0, 1, 2, 64, 65, 126, 62};
  const test::device_buffer<float> d_entry(entry), d_norm(norm), d_cos(cos), d_sin(sin);
  const test::device_buffer<int> d_slots(slots);
  const test::device_buffer<std::uint8_t> cache(pages * 64 * bytes);
  mla_rows_args args;
  args.entry = d_entry.get(), args.norm = d_norm.get(), args.cos = d_cos.get(), args.sin = d_sin.get();
  args.slots = d_slots.get(), args.cache = cache.get(), args.format = kernels::cache_format::fp8_ds_mla;
  args.tokens = tokens, args.eps = 0;
  BOOST_REQUIRE_EQUAL(mla_rows(args, nullptr), cudaSuccess);
  done();

  std::vector<std::uint8_t> want(pages * 64 * bytes, 0xFF);
  for (int t = 0; t < tokens; ++t) {
    const float* x = &entry[t * 576];
    float sum = 0;
    for (int i = 0; i < 512; ++i) sum += x[i] * x[i];
    const float factor = 1.0f / std::sqrt(sum / 512);
    std::vector<float> latent(512);
    for (int i = 0; i < 512; ++i) latent[i] = norm[i] * (x[i] * factor);
    const auto e = kernels::ref::cache_entry(latent, {x + 512, x + 576});
    std::copy(e.begin(), e.end(), want.begin() + slots[t] * bytes);
  }
  const auto got = cache.host();
  const auto same = std::mismatch(got.begin(), got.end(), want.begin()).first - got.begin();
  BOOST_TEST(same == pages * 64 * bytes, "entry at slot " << same / bytes << " differs at byte " << same % bytes);
}

/// Rotation and rounding of the key have the same code for both formats.
BOOST_DATA_TEST_CASE(keys_of_both_formats_have_the_same_bits, boost::unit_test::data::make({true, false}),
                     interleaved) {
  random_source random;
  const int tokens = 3;
  const auto entry = random.normals(tokens * 576), norm = random.normals(512), cos = random.normals(tokens * 32),
             sin = random.normals(tokens * 32);
  const std::vector<int> slots{5, 63, 0};
  const test::device_buffer<float> d_entry(entry), d_norm(norm), d_cos(cos), d_sin(sin);
  const test::device_buffer<int> d_slots(slots);
  const test::device_buffer<std::uint8_t> plain(64 * 1152), codes(64 * 656);
  mla_rows_args args;
  args.entry = d_entry.get(), args.norm = d_norm.get(), args.cos = d_cos.get(), args.sin = d_sin.get();
  args.slots = d_slots.get(), args.cache = plain.get(), args.tokens = tokens, args.interleaved = interleaved;
  BOOST_REQUIRE_EQUAL(mla_rows(args, nullptr), cudaSuccess);
  args.cache = codes.get(), args.format = kernels::cache_format::fp8_ds_mla;
  BOOST_REQUIRE_EQUAL(mla_rows(args, nullptr), cudaSuccess);
  done();

  const auto a = plain.host(), b = codes.host();
  for (const int slot : slots)
    BOOST_TEST(std::equal(&a[slot * 1152 + 1024], &a[slot * 1152 + 1024] + 128, &b[slot * 656 + 528]), "slot " << slot);
}

BOOST_DATA_TEST_CASE(queries_and_cache_entries_match_the_cpu, boost::unit_test::data::make({true, false}),
                     interleaved) {
  random_source random;
  const int tokens = 3, heads = 10, nope = 128, pages = 3, pitch = 576 + 32;
  const auto q = random.normals(std::size_t(tokens) * heads * (nope + 64)), entry = random.normals(tokens * pitch);
  const auto norm = random.normals(512);
  const std::vector<int> slots{5, 64 + 63, 130}, positions{5, 1063, 70};
  const kernels::rope rope({.dim = 64, .base = 10000, .yarn = {}, .interleaved = interleaved});
  std::vector<float> cos(tokens * 32), sin(tokens * 32);
  for (int t = 0; t < tokens; ++t) rope.angles(positions[t], &cos[t * 32], &sin[t * 32]);
  const test::device_buffer<float> d_q(q), d_entry(entry), d_norm(norm), d_cos(cos), d_sin(sin);
  const test::device_buffer<int> d_slots(slots);
  const test::device_buffer<std::uint16_t> d_nope(std::size_t(tokens) * heads * nope),
      absorbed(std::size_t(tokens) * heads * 576), cache(pages * 64 * 576);
  mla_rows_args args;
  args.q = d_q.get(), args.entry = d_entry.get(), args.entry_pitch = pitch, args.norm = d_norm.get(),
  args.cos = d_cos.get();
  args.sin = d_sin.get(), args.slots = d_slots.get(), args.q_nope = d_nope.get(), args.q_rope = absorbed.get() + 512;
  args.q_nope_pitch = nope, args.q_rope_pitch = 576;
  args.cache = cache.get(), args.tokens = tokens, args.heads = heads, args.nope = nope, args.interleaved = interleaved;
  BOOST_REQUIRE_EQUAL(mla_rows(args, nullptr), cudaSuccess);
  done();

  const auto got_nope = d_nope.host(), got_absorbed = absorbed.host(), got_cache = cache.host();
  double worst = 0;
  for (int t = 0; t < tokens; ++t) {
    for (int h = 0; h < heads; ++h) {
      const float* head = &q[(std::size_t(t) * heads + h) * (nope + 64)];
      std::vector<float> key(head + nope, head + nope + 64);
      rope.rotate(key.data(), &cos[t * 32], &sin[t * 32]);
      for (int i = 0; i < nope; ++i)
        worst = std::max(worst, bf16_distance(got_nope[(std::size_t(t) * heads + h) * nope + i], head[i]));
      for (int i = 0; i < 64; ++i)
        worst = std::max(worst, bf16_distance(got_absorbed[(std::size_t(t) * heads + h) * 576 + 512 + i], key[i]) *
                                    std::abs(key[i])); // sums of two products: absolute
    }
    std::vector<float> latent(512), key(&entry[t * pitch + 512], &entry[t * pitch + 512] + 64);
    kernels::rmsnorm(&entry[t * pitch], norm.data(), 512, 1e-6f, latent.data());
    rope.rotate(key.data(), &cos[t * 32], &sin[t * 32]);
    for (int i = 0; i < 512; ++i) worst = std::max(worst, bf16_distance(got_cache[slots[t] * 576 + i], latent[i]));
    for (int i = 0; i < 64; ++i)
      worst = std::max(worst, bf16_distance(got_cache[slots[t] * 576 + 512 + i], key[i]) * std::abs(key[i]));
  }
  BOOST_TEST(worst <= 4.0);
  BOOST_TEST(got_cache[6 * 576] == 0xFFFF); // the neighbour's entry is not touched
}

BOOST_AUTO_TEST_SUITE_END()
