// What is kept for device memory of other processes: when it is mapped again, and when it is let go.
#include "runtime/exec/device/mapped_layout.hpp"
#include "runtime/exec/device/peer_table.hpp"

#include <boost/test/unit_test.hpp>

#include <set>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::exec;

namespace {

/// A device whose memory is this one's: a handle is an address.
struct fake_device {
  static inline int opened = 0, closed = 0;
  static inline bool refuses = false;
  static result<std::byte*> open(const device_segment& s) {
    if (refuses) return error{errc::unsupported, "no"};
    ++opened;
    return reinterpret_cast<std::byte*>(s.handle[0]);
  }
  static void close(std::byte*) { ++closed; }
};

struct fresh_device {
  fresh_device() { fake_device::opened = fake_device::closed = 0, fake_device::refuses = false; }
};

device_segment segment_of(std::uint64_t owner, std::uint32_t place, std::uint32_t generation = 1) {
  return {owner, static_cast<std::int64_t>(owner), place, generation, 100, {0x1000u * generation}};
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(peer_table, fresh_device)

BOOST_AUTO_TEST_CASE(a_segment_is_mapped_once_and_again_when_it_moves) {
  mapped_segment<fake_device> mapped;
  const auto first = mapped.follow(segment_of(7, 1)).value();
  BOOST_TEST(mapped.follow(segment_of(7, 1)).value() == first);
  BOOST_TEST(fake_device::opened == 1);

  BOOST_TEST(mapped.follow(segment_of(7, 1, 3)).value() == reinterpret_cast<std::byte*>(0x3000));
  BOOST_TEST(fake_device::opened == 2);
  BOOST_TEST(fake_device::closed == 1);

  BOOST_TEST((mapped.follow(segment_of(7, 1, 2)).error().code == errc::bad_input));
  BOOST_TEST(mapped.follow(segment_of(7, 1, 3)).has_value());
  BOOST_TEST(fake_device::opened == 2);
}

BOOST_AUTO_TEST_CASE(a_segment_that_cannot_be_mapped_may_be_tried_again) {
  mapped_segment<fake_device> mapped;
  fake_device::refuses = true;
  BOOST_TEST((mapped.follow(segment_of(7, 1)).error().code == errc::unsupported));
  fake_device::refuses = false;
  BOOST_TEST(mapped.follow(segment_of(7, 1)).has_value());
  BOOST_TEST(fake_device::closed == 0);
}

BOOST_AUTO_TEST_CASE(places_of_one_process_and_processes_are_kept_apart) {
  exec::peer_table<int> table([](std::int64_t) { return true; });
  *table.find(segment_of(1, 1)) = 11, *table.find(segment_of(1, 2)) = 12, *table.find(segment_of(2, 1)) = 21;
  BOOST_TEST(*table.find(segment_of(1, 1, 5)) == 11);
  BOOST_TEST(*table.find(segment_of(1, 2)) == 12);
  BOOST_TEST(*table.find(segment_of(2, 1)) == 21);
  BOOST_TEST(table.size() == 3u);
}

BOOST_AUTO_TEST_CASE(what_a_process_had_is_closed_when_it_has_ended) {
  std::set<std::int64_t> ended;
  exec::peer_table<mapped_segment<fake_device>> table([&](std::int64_t pid) { return !ended.contains(pid); });
  for (const std::uint64_t owner : {1, 2})
    BOOST_TEST(table.find(segment_of(owner, 1))->follow(segment_of(owner, 1)).has_value());
  ended.insert(1);
  table.find(segment_of(2, 1));
  BOOST_TEST(fake_device::closed == 0); // nobody new: nothing is looked for
  table.find(segment_of(3, 1));
  BOOST_TEST(fake_device::closed == 1);
  BOOST_TEST(table.size() == 2u);
}

BOOST_AUTO_TEST_CASE(over_the_limit_nobody_who_lives_is_dropped) {
  bool all_alive = true;
  exec::peer_table<int> table([&](std::int64_t) { return all_alive; });
  for (std::uint64_t owner = 1; owner <= limits::device_segments_max; ++owner) *table.find(segment_of(owner, 1)) = 5;
  BOOST_TEST(table.find(segment_of(1000, 1)) == nullptr);
  BOOST_TEST(*table.find(segment_of(1, 1)) == 5);
  all_alive = false;
  BOOST_REQUIRE(table.find(segment_of(1000, 1)) != nullptr);
  BOOST_TEST(table.size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_process_lives_until_it_is_reaped) {
  BOOST_TEST(is_alive(::getpid()));
  const auto child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  BOOST_TEST(!is_alive(child));
}

BOOST_AUTO_TEST_CASE(a_mapped_batch_fits_its_segment_and_the_limits) {
  const std::vector<std::int32_t> layers{-1, 0};
  const mapped_layout layout(3, 64, 2);
  BOOST_TEST(layout.chosen_at == 3u * 64 * 2);
  BOOST_TEST(layout.rows_bytes == layout.chosen_at + 3u * 2 * 4);
  BOOST_TEST(layout.output_bytes == 3u * 2 * 64 * 2);
  BOOST_TEST(layout.fits());

  mapped_batch good{1, 64, 3, 2, segment_of(1, 1)};
  good.rows.size = layout.rows_bytes;
  const auto refusal = [&](auto change) {
    auto batch = good;
    change(batch);
    return check_mapped_batch(batch, 64, 2, layers).error().code;
  };
  BOOST_TEST(check_mapped_batch(good, 64, 2, layers).has_value());
  BOOST_TEST((refusal([](auto& b) { b.layer = 0; }) == errc::bad_input));
  BOOST_TEST((refusal([](auto& b) { b.layer = 2; }) == errc::bad_input));
  BOOST_TEST((refusal([](auto& b) { b.layer = -1; }) == errc::bad_input));
  BOOST_TEST((refusal([](auto& b) { b.hidden_size = 128; }) == errc::bad_input));
  BOOST_TEST((refusal([](auto& b) { b.experts_per_row = 1; }) == errc::bad_input));
  BOOST_TEST((refusal([](auto& b) { b.row_count = 0; }) == errc::bad_input));
  BOOST_TEST((refusal([](auto& b) { b.row_count = 4; }) == errc::bad_input));
  BOOST_TEST((refusal([](auto& b) { b.row_count = INT32_MAX; }) == errc::overloaded));
  BOOST_TEST((refusal([](auto& b) { --b.rows.size; }) == errc::bad_input));
}

BOOST_AUTO_TEST_SUITE_END()
