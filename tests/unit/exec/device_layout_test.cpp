// Host logic of GPU engines: the block of a step's rows, the slots of a message's pairs, and the cuts of the weights.
#include "runtime/exec/device/batch_layout.hpp"
#include "runtime/exec/device/slot_passes.hpp"
#include "runtime/exec/device/weight_shapes.hpp"
#include "runtime/exec/random_weights.hpp"
#include "tests/support/test_seed.hpp"

#include <boost/test/unit_test.hpp>
#include <map>

using namespace troupe;
using namespace troupe::exec;

namespace {

std::vector<page_id> pages_of(std::initializer_list<std::uint32_t> numbers) {
  std::vector<page_id> pages;
  for (const auto n : numbers) pages.push_back(page_id{n});
  return pages;
}

} // namespace

BOOST_AUTO_TEST_SUITE(device_layout)

BOOST_AUTO_TEST_CASE(rows_know_their_slot_length_and_pages) {
  const std::vector<token_id> a{7, 8, 9}, b{5};
  const auto pages_a = pages_of({4, 2}), pages_b = pages_of({3, 1, 0});
  const std::vector<sequence_tokens> sequences{{a, 62, pages_a, 0}, {b, 128, pages_b, 11}};
  const std::vector<std::int32_t> wanted{2, 3};
  const batch_layout layout(sequences, 2, 2);
  std::vector<std::uint32_t> words(layout.words, 0xFFFFFFFF);
  fill_batch(
      layout, sequences, wanted, 2,
      [](std::int64_t position, float* cos, float* sin) {
        cos[0] = static_cast<float>(position), cos[1] = 1, sin[0] = -1, sin[1] = 0;
      },
      words.data());
  const device_batch batch(layout, words.data());

  BOOST_TEST(batch.rows == 4);
  BOOST_TEST(batch.wanted == 2);
  BOOST_TEST(batch.table_pages == table_pages_step);
  const auto ints = [](const int* from, int count) { return std::vector<int>(from, from + count); };
  BOOST_TEST(ints(batch.ids, 4) == (std::vector{7, 8, 9, 5}), boost::test_tools::per_element());
  BOOST_TEST(ints(batch.lengths, 4) == (std::vector{63, 64, 65, 129}), boost::test_tools::per_element());
  BOOST_TEST(ints(batch.slots, 4) == (std::vector{4 * 64 + 62, 4 * 64 + 63, 2 * 64, 0}),
             boost::test_tools::per_element());
  BOOST_TEST(ints(batch.sources, 4) == (std::vector{0, 1, 2, 11}), boost::test_tools::per_element());
  BOOST_TEST(ints(batch.wanted_rows, 2) == wanted, boost::test_tools::per_element());
  BOOST_TEST(ints(batch.tables + batch.table_pages, 3) == (std::vector{4, 2, 0}), boost::test_tools::per_element());
  BOOST_TEST(ints(batch.tables + 3 * batch.table_pages, 3) == (std::vector{3, 1, 0}), boost::test_tools::per_element());
  BOOST_TEST(batch.chunks.size() == 2u);
  BOOST_TEST((batch.chunks[1].first_row == 3 && batch.chunks[1].rows == 1 && batch.chunks[1].positions == 129));
  BOOST_TEST(batch.cos[3 * 2] == 128.0f);
  BOOST_TEST(batch.sin[0] == -1.0f);

  const auto part = batch.part(1, 3, 2); // two rows of the first sequence, and the second
  BOOST_TEST(part.rows == 3);
  BOOST_TEST(part.wanted == 0);
  BOOST_TEST(ints(part.ids, 3) == (std::vector{8, 9, 5}), boost::test_tools::per_element());
  BOOST_TEST(ints(part.lengths, 3) == (std::vector{64, 65, 129}), boost::test_tools::per_element());
  BOOST_TEST(ints(part.sources, 3) == (std::vector{1, 2, 11}), boost::test_tools::per_element());
  BOOST_TEST(ints(part.slots, 1).front() == 4 * 64 + 63);
  BOOST_TEST(ints(part.tables + 2 * part.table_pages, 3) == (std::vector{3, 1, 0}), boost::test_tools::per_element());
  BOOST_TEST(part.cos[0] == 63.0f);
  BOOST_REQUIRE(part.chunks.size() == 2u);
  BOOST_TEST((part.chunks[0].first_row == 0 && part.chunks[0].rows == 2 && part.chunks[0].positions == 65));
  BOOST_TEST((part.chunks[1].first_row == 2 && part.chunks[1].rows == 1 && part.chunks[1].positions == 129));
  const auto begin = batch.part(0, 2, 2); // without the first sequence's newest position
  BOOST_REQUIRE(begin.chunks.size() == 1u);
  BOOST_TEST((begin.chunks[0].rows == 2 && begin.chunks[0].positions == 64));
}

BOOST_AUTO_TEST_CASE(page_tables_grow_in_whole_attention_parts) {
  const std::vector<token_id> one{1};
  const auto pages_for = [&](std::int64_t position) {
    const std::vector<sequence_tokens> sequences{{one, position, {}, 0}};
    return batch_layout(sequences, 1, 32).table_pages;
  };
  BOOST_TEST(pages_for(0) == table_pages_step);
  BOOST_TEST(pages_for(64 * table_pages_step - 1) == table_pages_step);
  BOOST_TEST(pages_for(64 * table_pages_step) == 2 * table_pages_step);
}

/// Every pair gets one slot of its own expert, and no expert more than its slots.
BOOST_AUTO_TEST_CASE(pairs_fill_slots_in_passes) {
  std::mt19937_64 random(troupe::testing::fresh_seed());
  const int rows_max = 4;
  const std::vector<std::int32_t> slot_of_expert{-1, 0, -1, 1, 2};
  std::vector<expert_index> experts;
  std::vector<std::int32_t> rows;
  for (const expert_index e : {1, 3, 4})
    for (int i = troupe::testing::pick(random, 0, 11); i >= 0; --i)
      experts.push_back(e), rows.push_back(static_cast<std::int32_t>(random() % 50));

  std::map<std::size_t, int> seen;
  for (const auto& pass : cut_into_passes(experts, rows, slot_of_expert, 3, rows_max)) {
    BOOST_TEST(pass.rows_hint <= rows_max);
    BOOST_REQUIRE_EQUAL(pass.pairs.size(), pass.slot_of.size());
    std::vector<int> used(3);
    for (std::size_t i = 0; i < pass.pairs.size(); ++i) {
      const auto pair = pass.pairs[i];
      const int expert = pass.slot_of[i] / rows_max;
      BOOST_TEST(expert == slot_of_expert[static_cast<std::size_t>(experts[pair])]);
      BOOST_TEST(pass.slot_of[i] % rows_max == used[static_cast<std::size_t>(expert)]++);
      BOOST_TEST(pass.token_of[static_cast<std::size_t>(pass.slot_of[i])] == rows[pair]);
      ++seen[pair];
    }
    BOOST_TEST(used == pass.rows, boost::test_tools::per_element());
  }
  BOOST_TEST(seen.size() == experts.size());
}

BOOST_AUTO_TEST_CASE(shapes_without_kernels_are_refused_by_field) {
  auto c = named_shape("small").value();
  BOOST_TEST(check_device_shape(c).has_value());
  BOOST_TEST(check_device_shape(named_shape("r1-slice").value()).has_value());
  c.hidden_size = 1000;
  BOOST_TEST(check_device_shape(c).error().message.find("hidden_size 1000") != std::string::npos);
  const auto tiny = check_device_shape(named_shape("tiny").value());
  BOOST_TEST((tiny.error().code == errc::unsupported));
  BOOST_TEST(tiny.error().message.find("kv_lora_rank 16 must be 512") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(fp8_feed_forward_wants_whole_blocks) {
  BOOST_TEST(fits_fp8_ffn(7168, 2048, 256, 128, 128));
  BOOST_TEST(!fits_fp8_ffn(7168, 2048, 257, 128, 128));
  BOOST_TEST(!fits_fp8_ffn(384, 128, 1, 128, 128));
  BOOST_TEST(!fits_fp8_ffn(256, 192, 1, 128, 128));
  BOOST_TEST(!fits_fp8_ffn(256, 128, 1, 64, 128));
  BOOST_TEST(fits_grouped_ffn(256, 128, 1));
}

BOOST_AUTO_TEST_CASE(kv_b_is_cut_by_head_and_its_key_half_transposed) {
  const int heads = 3, nope = 4, value = 2, latent = 5;
  std::vector<float> numbers(static_cast<std::size_t>(heads * (nope + value) * latent));
  for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
  const kernels::weight_view view{.type = kernels::tensor_type::f32,
                                  .data = reinterpret_cast<const std::byte*>(numbers.data()),
                                  .rows = heads * (nope + value),
                                  .cols = latent};
  const auto at = [&](int head, int row, int channel) {
    return kernels::float_to_bf16(numbers[static_cast<std::size_t>((head * (nope + value) + row) * latent + channel)]);
  };
  for (int h = 0; h < heads; ++h) {
    std::vector<std::uint16_t> key(latent * nope), values(value * latent);
    split_key(view, h, nope, value, key.data());
    split_values(view, h, nope, value, values.data());
    for (int c = 0; c < latent; ++c) {
      for (int n = 0; n < nope; ++n) BOOST_TEST(key[static_cast<std::size_t>(c * nope + n)] == at(h, n, c));
      for (int v = 0; v < value; ++v)
        BOOST_TEST(values[static_cast<std::size_t>(v * latent + c)] == at(h, nope + v, c));
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
