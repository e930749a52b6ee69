#include "runtime/net/wire.hpp"

#include "tests/support/aborts.hpp"
#include "tests/support/seed.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstring>

using namespace troupe;
using namespace troupe::net;
using troupe::testing::aborts;

namespace {

const envelope about{0x1122334455667788, 5, frame_kind::frame, 0, 0};

std::vector<std::byte> random_bytes(std::mt19937_64& random, std::size_t size) {
  std::vector<std::byte> out(size);
  for (auto& b : out) b = static_cast<std::byte>(random());
  return out;
}

std::vector<std::byte> copy_of(const header_bytes& header) {
  const auto bytes = header.bytes();
  return {bytes.begin(), bytes.end()};
}

template <class T>
void put(std::vector<std::byte>& header, std::size_t at, T value) {
  std::memcpy(header.data() + at, &value, sizeof(value));
}

template <class T>
void check_refused(const result<T>& parsed, std::string_view why) {
  BOOST_TEST_REQUIRE(!parsed.has_value());
  BOOST_TEST(parsed.error().message.find(why) != std::string::npos, parsed.error().message);
}

} // namespace

BOOST_AUTO_TEST_SUITE(wire)

BOOST_AUTO_TEST_CASE(a_frame_tells_every_size_before_its_data) {
  const std::array<std::size_t, 3> sizes{0, 1, limits::segment_bytes_max};
  const auto header = make_frame(about, {77, 3, 4000}, sizes);
  const auto parsed = parse_frame(header.bytes());
  BOOST_TEST(parse_envelope(header.bytes())->tag == about.tag);
  BOOST_TEST(parse_envelope(header.bytes())->channel == 5u);
  BOOST_TEST(parsed->head.stream == 77u);
  BOOST_TEST(parsed->head.sequence == 3u);
  BOOST_TEST(parsed->head.meta_bytes == 4000u);
  BOOST_TEST(parsed->segment_bytes == sizes, boost::test_tools::per_element());
  BOOST_TEST(parsed->data_bytes == 4001 + limits::segment_bytes_max);
}

BOOST_AUTO_TEST_CASE(the_most_segments_fit_and_one_more_does_not) {
  const std::vector<std::size_t> most(limits::frame_segments_max, 1);
  BOOST_TEST(parse_frame(make_frame(about, {}, most).bytes())->data_bytes == limits::frame_segments_max);
  const std::vector<std::size_t> more(limits::frame_segments_max + 1, 1);
  BOOST_TEST(aborts([&] { make_frame(about, {}, more); }));
}

BOOST_AUTO_TEST_CASE(a_header_of_any_wrong_length_is_refused) {
  const std::array<std::size_t, 2> sizes{10, 20};
  const auto whole = copy_of(make_frame(about, {1, 2, 3}, sizes));
  for (std::size_t size = 0; size < whole.size(); ++size)
    BOOST_TEST(!parse_frame(std::span(whole).first(size)).has_value());
  auto longer = whole;
  longer.push_back({});
  check_refused(parse_frame(longer), "header of 49 bytes for 2 segments");
}

BOOST_AUTO_TEST_CASE(sizes_above_a_limit_are_refused) {
  const std::array<std::size_t, 1> sizes{10};
  const auto whole = copy_of(make_frame(about, {1, 2, 3}, sizes));
  auto meta = whole;
  put(meta, 28, static_cast<std::uint32_t>(limits::frame_meta_bytes_max + 1));
  check_refused(parse_frame(meta), "meta of 67108865 bytes; at most 67108864");
  auto segment = whole;
  put(segment, 32, ~std::uint64_t{0});
  check_refused(parse_frame(segment), "segment of 18446744073709551615 bytes");
  auto count = whole;
  put(count, 14, std::uint16_t{65535});
  check_refused(parse_frame(count), "65535 segments; at most 64");
}

BOOST_AUTO_TEST_CASE(an_unknown_kind_is_refused) {
  for (const int kind : {0, 8, 255}) {
    auto bytes = copy_of(make_header(about));
    bytes[12] = static_cast<std::byte>(kind);
    check_refused(parse_envelope(bytes), "unknown kind " + std::to_string(kind));
  }
}

BOOST_AUTO_TEST_CASE(headers_may_lie_at_any_address) {
  const auto header = make_frame(about, {77, 3, 4000}, std::array<std::size_t, 1>{9});
  std::vector<std::byte> shifted(1 + header.size);
  std::ranges::copy(header.bytes(), shifted.begin() + 1);
  BOOST_TEST(parse_frame(std::span(shifted).subspan(1))->segment_bytes.at(0) == 9u);
}

BOOST_AUTO_TEST_CASE(a_batch_gives_back_its_frames_aligned_as_itself) {
  TROUPE_RANDOM(random);
  for (int round = 0; round < 100; ++round) {
    std::vector<std::byte> batch;
    std::vector<std::vector<std::byte>> metas;
    for (auto count = random() % 20; count-- > 0;) {
      metas.push_back(random_bytes(random, random() % 100));
      const auto size = batch.size();
      append_to_batch(batch, {metas.size(), static_cast<std::uint32_t>(random()), 0}, metas.back());
      BOOST_TEST(batch.size() - size == batch_item_bytes(metas.back().size()));
    }
    std::vector<batch_item> items;
    BOOST_TEST_REQUIRE(parse_batch(batch, items).has_value());
    BOOST_TEST_REQUIRE(items.size() == metas.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
      BOOST_TEST(items[i].head.stream == i + 1);
      BOOST_TEST(std::ranges::equal(items[i].meta, metas[i]));
      BOOST_TEST((items[i].meta.data() - batch.data()) % 16 == 0);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_truncated_batch_gives_no_frame_at_all) {
  std::vector<std::byte> batch;
  append_to_batch(batch, {1, 0, 0}, std::vector<std::byte>(5));
  const auto first = batch.size();
  append_to_batch(batch, {1, 1, 0}, std::vector<std::byte>(40));
  std::vector<batch_item> items;
  for (std::size_t size = 1; size < batch.size(); ++size) {
    if (size == first) continue;
    BOOST_TEST(!parse_batch(std::span(batch).first(size), items).has_value());
    BOOST_TEST(items.empty());
  }
}

BOOST_AUTO_TEST_CASE(a_batch_that_claims_more_than_it_has_is_refused) {
  std::vector<std::byte> batch;
  append_to_batch(batch, {1, 0, 0}, std::vector<std::byte>(5));
  std::vector<batch_item> items;
  for (const std::uint32_t claim : {17u, 0x7fffffffu, 0xfffffff0u, 0xffffffffu}) {
    put(batch, 12, claim);
    check_refused(parse_batch(batch, items), "ends within a frame");
  }
}

BOOST_AUTO_TEST_CASE(credit_passes_and_has_one_size) {
  const auto header = make_credit({1, 2, frame_kind::credit}, {10, 2000});
  BOOST_TEST(parse_credit(header.bytes())->frames == 10u);
  BOOST_TEST(parse_credit(header.bytes())->bytes == 2000u);
  BOOST_TEST(!parse_credit(header.bytes().first(header.size - 1)).has_value());
}

BOOST_AUTO_TEST_CASE(sequences_are_ordered_across_the_wrap) {
  BOOST_TEST(sequence_before(1, 2));
  BOOST_TEST(!sequence_before(2, 2));
  BOOST_TEST(sequence_before(0xffffffff, 0));
  BOOST_TEST(!sequence_before(0, 0xffffffff));
}

BOOST_AUTO_TEST_SUITE_END()
