#include "runtime/moe/placement.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>

using namespace troupe;
using namespace troupe::moe;

BOOST_AUTO_TEST_SUITE(placement)

BOOST_AUTO_TEST_CASE(every_expert_has_one_owner_and_shares_differ_by_at_most_one) {
  for (const int shards : {1, 2, 3, 5, 16, 40}) {
    const auto where = place_evenly(32, shards, 7);
    std::size_t owned = 0;
    for (int s = 0; s < shards; ++s) {
      const auto experts = where.experts_of(shard_id{static_cast<std::uint32_t>(s)});
      owned += experts.size();
      BOOST_TEST((experts.size() == static_cast<std::size_t>(32 / shards) ||
                  experts.size() == static_cast<std::size_t>(32 / shards + 1)));
      BOOST_TEST(std::is_sorted(experts.begin(), experts.end()));
    }
    BOOST_TEST(owned == 32u);
    BOOST_TEST(where.epoch == 7u);
  }
}

BOOST_AUTO_TEST_CASE(shares_are_contiguous) {
  const auto where = place_evenly(8, 2, 1);
  const std::vector<expert_index> upper{4, 5, 6, 7};
  BOOST_TEST(where.experts_of(shard_id{1}) == upper, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
