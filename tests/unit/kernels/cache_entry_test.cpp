// The 656-byte cache entry against its oracle, byte by byte, and attention over it bit by bit.
#include "kernels/cpu/mla_attention.hpp"
#include "kernels/ref/cache.hpp"
#include "tests/unit/kernels/support.hpp"

using namespace troupe::kernels;
using namespace troupe::kernels::test;

namespace {

constexpr auto codes = cache_format::fp8_ds_mla;

/// What the oracle makes of it, with every kind of group: zeros, tiny, ordinary, too large, infinite, no number.
std::vector<float> odd_latent(random_source& random, std::int64_t size) {
  auto x = random.normals(size);
  for (std::int64_t g = 0; g < size / cache_group; ++g) {
    auto* group = x.data() + g * cache_group;
    const float factor = std::ldexp(1.0f, static_cast<int>(random.integer(-30, 20)));
    for (std::int64_t i = 0; i < cache_group; ++i) group[i] *= factor;
    switch (random.integer(0, 5)) {
    case 0: std::fill_n(group, cache_group, 0.0f), group[5] = -0.0f; break;
    case 1: group[random.integer(0, 127)] = std::numeric_limits<float>::infinity(); break;
    case 2: group[random.integer(0, 127)] = -std::numeric_limits<float>::quiet_NaN(); break;
    case 3: group[random.integer(0, 127)] = 448 * factor * 4; break;
    default: break;
    }
  }
  return x;
}

} // namespace

BOOST_AUTO_TEST_SUITE(cache_entry)

BOOST_AUTO_TEST_CASE(an_entry_of_r1_takes_656_bytes_instead_of_1152) {
  const mla_shape r1{.heads = 128, .nope = 128, .rope = 64, .value = 128, .latent = 512};
  BOOST_TEST(cache_entry_bytes(r1, {compute_type::bfloat16, codes}) == 656);
  BOOST_TEST(cache_entry_bytes(r1, {compute_type::float32, codes}) == 656);
  BOOST_TEST(cache_entry_bytes(r1, compute_type::bfloat16) == 1152);
  BOOST_TEST(cache_entry_bytes(r1, compute_type::float32) == 2304);
}

/// All values of the format, the middles between neighbours, and their neighbours in fp32.
BOOST_AUTO_TEST_CASE(floats_become_the_nearest_code) {
  std::vector<float> x{448, 464, 1e9f, 0x1p-10f, 0x1p-11f, 1e-40f, 0};
  for (int code = 0; code < 0x7e; ++code) {
    const float low = f8_e4m3_to_float(std::uint8_t(code)), high = f8_e4m3_to_float(std::uint8_t(code + 1));
    const float middle = (low + high) / 2;
    x.insert(x.end(), {low, middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)});
  }
  x.resize((x.size() + cache_group - 1) / cache_group * cache_group);
  for (std::size_t i = 0; i < x.size(); i += cache_group - 1) { // the oracle's scale is 1 beside 448
    std::vector<float> group(cache_group, 448.0f);
    for (std::size_t j = 1; j < group.size() && i + j - 1 < x.size(); ++j) group[j] = std::min(x[i + j - 1], 448.0f);
    const auto want = ref::cache_entry(group, {});
    for (std::size_t j = 0; j < group.size(); ++j)
      BOOST_TEST(float_to_f8_e4m3(group[j]) == want[j], group[j] << " becomes " << int(float_to_f8_e4m3(group[j])));
  }
  for (const float v : {464.0f, 1e9f}) BOOST_TEST(float_to_f8_e4m3(v) == 0x7e);
  BOOST_TEST(float_to_f8_e4m3(-1e9f) == 0xfe);
  BOOST_TEST(float_to_f8_e4m3(-0.0f) == 0x80);
  for (const float v : {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::quiet_NaN()})
    BOOST_TEST(float_to_f8_e4m3(v) == 0x7f);
}

BOOST_AUTO_TEST_CASE(entries_are_written_as_the_oracle_writes_them) {
  random_source random;
  for (const auto& shape : {mla_shape{.rope = 16, .latent = 128}, mla_shape{.rope = 64, .latent = 512}})
    for (int trial = 0; trial < 20; ++trial) {
      const cache_type type(trial % 2 ? compute_type::bfloat16 : compute_type::float32, codes);
      const auto bytes = cache_entry_bytes(shape, type);
      const auto latent = odd_latent(random, shape.latent), rope = random.normals(shape.rope);
      const auto position = random.integer(0, 1000), page = random.integer(0, 2);
      std::vector<std::byte> pool(3 * cache_page_tokens * bytes, std::byte{0xff});

      write_cache_entry(shape, type, pool.data(), page, position, latent.data(), rope.data());

      auto want = std::vector<std::byte>(pool.size(), std::byte{0xff});
      const auto entry = ref::cache_entry(latent, rope);
      std::memcpy(want.data() + (page * cache_page_tokens + position % cache_page_tokens) * bytes, entry.data(), bytes);
      BOOST_TEST((pool == want), "latent " << shape.latent << " trial " << trial);
    }
}

/// Values that the format holds exactly: products over them have the same bits in either cache.
BOOST_AUTO_TEST_CASE(attention_has_the_bits_of_attention_over_the_values_in_the_plain_format) {
  random_source random;
  for (const auto& shape :
       {mla_shape{.heads = 8, .nope = 32, .rope = 16, .value = 32, .latent = 128, .scale = 0.14f},
        mla_shape{.heads = 3, .nope = 128, .rope = 64, .value = 128, .latent = 512, .scale = 0.07f}}) {
    const std::int64_t positions = 330, pages = (positions + 63) / 64;
    const auto kv_b = make_weights(random, tensor_type::bf16, shape.heads * (shape.nope + shape.value), shape.latent);
    const auto q = random.normals(shape.heads * (shape.nope + shape.rope), 0.3f);
    std::vector<std::int32_t> table;
    for (std::int32_t p = 0; p < pages; ++p) table.push_back(static_cast<std::int32_t>(pages) - 1 - p);
    for (const auto t : targets()) {
      const cache_type plain(t.compute), coded(t.compute, codes);
      const auto pool = [&](cache_type type) {
        return std::vector<std::byte>(pages * cache_page_tokens * cache_entry_bytes(shape, type), std::byte{0xff});
      };
      auto values = pool(plain), entries = pool(coded);
      for (std::int64_t p = 0; p < positions; ++p) {
        const auto latent = random.normals(shape.latent), rope = random.normals(shape.rope);
        write_cache_entry(shape, coded, entries.data(), table[p / 64], p, latent.data(), rope.data());
        const auto exact = ref::cached_values(ref::cache_entry(latent, rope), shape.latent, shape.rope);
        const std::vector<float> x(exact.begin(), exact.end());
        write_cache_entry(shape, plain, values.data(), table[p / 64], p, x.data(), x.data() + shape.latent);
      }
      const mla_weights weights(kv_b.view, shape, t);
      const auto attend = [&](cache_format format, const std::vector<std::byte>& cache) {
        thread_pool threads(2);
        std::vector<float> o(static_cast<std::size_t>(shape.heads * shape.value), poison);
        const mla_sequence sequence{0, 1, positions - 1, table};
        const auto width = static_cast<std::int64_t>(o.size());
        mla_attention(t, format).run(threads, weights, {&sequence, 1}, cache.data(), q.data(),
                                     static_cast<std::int64_t>(q.size()), o.data(), width);
        return o;
      };
      const auto want = attend(cache_format::plain, values), got = attend(codes, entries);
      BOOST_TEST(std::isfinite(got[0]));
      BOOST_TEST(same_bits(got.data(), want.data(), static_cast<std::int64_t>(got.size())), describe(t));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
