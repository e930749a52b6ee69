#include "runtime/net/frame_format.hpp"

#include "tests/support/seed.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstring>
#include <vector>

using namespace troupe;
using namespace troupe::net;

namespace {

using bytes = std::vector<std::byte>;

template <class T>
void append(bytes& out, const T& value) {
  const auto raw = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), raw.begin(), raw.end());
}

bytes announcement(std::uint32_t meta_bytes, bool in_data, const std::vector<std::uint64_t>& sizes) {
  bytes out;
  append(out, bulk_header{{77, 3, meta_bytes}, static_cast<std::uint32_t>(sizes.size()), in_data ? 1u : 0u, 0});
  for (const auto size : sizes) append(out, size);
  if (!in_data) out.resize(out.size() + meta_bytes, std::byte{7});
  return out;
}

void append_frame(bytes& parcel, std::uint32_t sequence, std::span<const std::byte> meta) {
  append(parcel, frame_header{1, sequence, static_cast<std::uint32_t>(meta.size())});
  parcel.insert(parcel.end(), meta.begin(), meta.end());
  parcel.resize(padded(parcel.size()));
}

void check_refused(const bytes& header, std::uint64_t data_bytes, std::string_view why) {
  const auto parsed = read_bulk(header, data_bytes);
  BOOST_TEST_REQUIRE(!parsed.has_value());
  BOOST_TEST(parsed.error().message.find(why) != std::string::npos, parsed.error().message);
}

} // namespace

BOOST_AUTO_TEST_SUITE(frame_format)

BOOST_AUTO_TEST_CASE(a_head_has_room_only_if_it_says_so) {
  bytes short_one, long_one;
  append(short_one, channel_header{7, 3, 2, 0, 0});
  append(long_one, channel_header{7, 3, 2, 1, 0});
  append(long_one, room_header{1'000, 5, 0});
  for (auto* const message : {&short_one, &long_one}) message->push_back(std::byte{42});

  std::span<const std::byte> rest(short_one);
  const auto without = take_head(rest);
  BOOST_TEST_REQUIRE(without.has_value());
  BOOST_TEST(without->channel.tag == 7u);
  BOOST_TEST(without->back.frames == 0u);
  BOOST_TEST((rest.size() == 1 && rest[0] == std::byte{42}));

  rest = long_one;
  const auto with = take_head(rest);
  BOOST_TEST_REQUIRE(with.has_value());
  BOOST_TEST(with->channel.lane == 2u);
  BOOST_TEST(with->back.frames == 5u);
  BOOST_TEST(with->back.bytes == 1'000u);
  BOOST_TEST((rest.size() == 1 && rest[0] == std::byte{42}));
}

BOOST_AUTO_TEST_CASE(a_head_that_is_cut_off_or_unknown_is_none) {
  bytes whole;
  append(whole, channel_header{7, 3, 2, 1, 0});
  append(whole, room_header{1'000, 5, 0});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    auto rest = std::span<const std::byte>(whole).first(size);
    BOOST_TEST(!take_head(rest).has_value());
  }
  bytes odd;
  append(odd, channel_header{7, 3, 2, 2, 0});
  append(odd, room_header{});
  std::span<const std::byte> rest(odd);
  BOOST_TEST(!take_head(rest).has_value());
}

BOOST_AUTO_TEST_CASE(a_bulk_frame_tells_every_size_before_its_data) {
  const auto parsed = read_bulk(announcement(4000, true, {0, 1, limits::segment_bytes_max}), 1);
  BOOST_TEST_REQUIRE(parsed.has_value(), (parsed ? "" : parsed.error().message));
  BOOST_TEST(parsed->frame.stream == 77u);
  BOOST_TEST(parsed->frame.sequence == 3u);
  BOOST_TEST(parsed->meta_in_data);
  BOOST_TEST((parsed->sizes == piece_sizes{4000, 0, 1, limits::segment_bytes_max}));
  BOOST_TEST(parsed->frame_bytes() == 4001 + limits::segment_bytes_max);
}

// The sizes alone decide which message carries which piece, so both sides come to the same plan.
BOOST_AUTO_TEST_CASE(large_pieces_travel_alone_and_small_ones_with_the_announcement) {
  const auto plan = plan_pieces({100, 1u << 20, 0, 200, 1u << 21});
  BOOST_TEST(plan.messages == 3u);
  BOOST_TEST(plan.bulk_bytes == 300u);
  BOOST_TEST(plan.bulk_pieces == 2u);
  BOOST_TEST(plan.message[0] == 0);
  BOOST_TEST(plan.message[1] == 1);
  BOOST_TEST(plan.message[3] == 0);
  BOOST_TEST(plan.message[4] == 2);
}

BOOST_AUTO_TEST_CASE(without_small_pieces_the_first_large_one_comes_with_the_announcement) {
  const auto plan = plan_pieces({0, 1u << 20, 1u << 21});
  BOOST_TEST(plan.messages == 2u);
  BOOST_TEST(plan.bulk_bytes == 1u << 20);
  BOOST_TEST(plan.message[1] == 0);
  BOOST_TEST(plan.message[2] == 1);
}

BOOST_AUTO_TEST_CASE(any_sizes_are_planned_whole) {
  TROUPE_RANDOM(random);
  for (int round = 0; round < 1000; ++round) {
    piece_sizes sizes(random() % (pieces_max + 1));
    for (auto& size : sizes) size = random() % (1u << (random() % 24));
    const auto plan = plan_pieces(sizes);
    std::uint64_t in_bulk = 0;
    std::vector<std::size_t> pieces_of(plan.messages);
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      BOOST_TEST_REQUIRE(plan.message[i] < plan.messages);
      if (sizes[i] == 0) continue;
      ++pieces_of[plan.message[i]];
      if (plan.message[i] == 0) in_bulk += sizes[i];
    }
    BOOST_TEST_REQUIRE(in_bulk == plan.bulk_bytes);
    BOOST_TEST_REQUIRE(pieces_of[0] == plan.bulk_pieces);
    for (std::size_t m = 1; m < plan.messages; ++m) BOOST_TEST_REQUIRE(pieces_of[m] == 1u);
  }
}

BOOST_AUTO_TEST_CASE(a_short_meta_travels_with_the_announcement) {
  const auto header = announcement(5, false, {10});
  BOOST_TEST(read_bulk(header, 10)->meta.size() == 5u);
}

BOOST_AUTO_TEST_CASE(an_announcement_may_lie_at_any_address) {
  const auto header = announcement(5, false, {10});
  bytes shifted(1);
  shifted.insert(shifted.end(), header.begin(), header.end());
  BOOST_TEST(read_bulk(std::span(shifted).subspan(1), 10)->sizes[0] == 10u);
}

BOOST_AUTO_TEST_CASE(an_announcement_of_any_wrong_length_is_refused) {
  auto header = announcement(5, false, {10, 20});
  for (std::size_t size = 0; size < header.size(); ++size)
    BOOST_TEST(!read_bulk(std::span(header).first(size), 30).has_value());
  header.push_back({});
  check_refused(header, 30, "meta is cut off");
}

BOOST_AUTO_TEST_CASE(sizes_above_a_limit_or_unlike_the_data_are_refused) {
  check_refused(announcement(5, false, {limits::segment_bytes_max + 1}), 0, "segment of 1073741825 bytes");
  check_refused(announcement(limits::frame_meta_bytes_max + 1, true, {}), 0, "meta of 67108865 bytes");
  check_refused(announcement(0, true, std::vector<std::uint64_t>(limits::frame_segments_max + 1)), 0, "65 segments");
  check_refused(announcement(5, false, {10}), 11, "sizes ask for 10 bytes, data has 11");
}

BOOST_AUTO_TEST_CASE(a_parcel_gives_back_its_frames_aligned_as_itself) {
  TROUPE_RANDOM(random);
  for (int round = 0; round < 100; ++round) {
    bytes parcel;
    std::vector<bytes> metas;
    for (auto count = random() % 20; count-- > 0;) {
      metas.emplace_back(random() % 100, static_cast<std::byte>(random()));
      append_frame(parcel, static_cast<std::uint32_t>(metas.size()), metas.back());
    }
    parcel_reader reader(parcel);
    for (std::size_t i = 0; i < metas.size(); ++i) {
      const auto frame = reader.next();
      BOOST_TEST_REQUIRE(frame.has_value());
      BOOST_TEST(frame->header.sequence == i + 1);
      BOOST_TEST(std::ranges::equal(frame->meta, metas[i]));
      BOOST_TEST((frame->meta.data() - parcel.data()) % 16 == 0);
    }
    BOOST_TEST(!reader.next().has_value());
    BOOST_TEST(reader.complete());
  }
}

BOOST_AUTO_TEST_CASE(a_parcel_that_claims_more_than_it_has_is_not_complete) {
  bytes parcel;
  append_frame(parcel, 0, bytes(5));
  for (const std::uint32_t claim : {17u, 0x7fffffffu, 0xfffffff0u, 0xffffffffu}) {
    std::memcpy(parcel.data() + 12, &claim, sizeof(claim));
    parcel_reader reader(parcel);
    BOOST_TEST(!reader.next().has_value());
    BOOST_TEST(!reader.complete());
  }
}

BOOST_AUTO_TEST_SUITE_END()
