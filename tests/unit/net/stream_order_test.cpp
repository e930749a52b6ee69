#include "runtime/net/stream_order.hpp"

#include "tests/support/seed.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <map>

using namespace troupe::net;

BOOST_AUTO_TEST_SUITE(stream_order)

// Frames are announced in order, some complete and some to be fetched; fetches end in any order. A frame is its number.
BOOST_AUTO_TEST_CASE(frames_of_a_stream_are_handed_over_as_announced_whenever_fetches_end) {
  TROUPE_RANDOM(random);
  struct under_way {
    stream_id stream;
    troupe::net::stream_order<int>::held* place;
  };
  troupe::net::stream_order<int> order;
  std::vector<under_way> fetches;
  std::map<std::uint64_t, std::vector<int>> handed_over;
  const auto end_one = [&] {
    const auto which = static_cast<std::ptrdiff_t>(random() % fetches.size());
    const auto [stream, place] = fetches[static_cast<std::size_t>(which)];
    fetches.erase(fetches.begin() + which);
    order.fetched(stream, *place, [&](int frame) { handed_over[stream.value].push_back(frame); });
  };

  for (int frame = 0; frame < 3'000; ++frame) {
    const stream_id stream{random() % 5};
    if (random() % 4 == 0)
      fetches.push_back({stream, &order.fetch(stream, frame)});
    else if (order.blocked(stream))
      order.hold(stream, frame);
    else
      handed_over[stream.value].push_back(frame);
    if (!fetches.empty() && random() % 4 == 0) end_one();
  }
  while (!fetches.empty()) end_one();

  std::size_t sum = 0;
  for (const auto& [stream, frames] : handed_over) {
    BOOST_TEST(std::ranges::is_sorted(frames));
    sum += frames.size();
  }
  BOOST_TEST(sum == 3'000u);
  BOOST_TEST(order.streams() == 0u);
}

BOOST_AUTO_TEST_CASE(a_fetch_holds_up_its_own_stream_only) {
  troupe::net::stream_order<int> order;

  auto& place = order.fetch(stream_id{1}, 10);

  BOOST_TEST(order.blocked(stream_id{1}));
  BOOST_TEST(!order.blocked(stream_id{2}));
  order.fetched(stream_id{1}, place, [](int frame) { BOOST_TEST(frame == 10); });
  BOOST_TEST(!order.blocked(stream_id{1}));
}

BOOST_AUTO_TEST_SUITE_END()
