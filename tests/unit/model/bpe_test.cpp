#include "runtime/model/bpe.hpp"
#include "tests/support/seed.hpp"

#include <boost/test/unit_test.hpp>

#include <map>
#include <numeric>

using namespace troupe;
using namespace troupe::model;

namespace {

std::array<token_id, 256> bytes_as_tokens() {
  std::array<token_id, 256> tokens;
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

/// The definition: merge the adjacent pair of lowest rank, leftmost on ties, until none is left.
std::vector<token_id> merge_by_definition(const std::vector<bpe_merge>& merges, std::string_view piece) {
  std::vector<token_id> ids;
  for (const char byte : piece) ids.push_back(static_cast<std::uint8_t>(byte));
  for (std::size_t rank = 0; rank < merges.size();) {
    std::size_t at = 0;
    while (at + 1 < ids.size() && !(ids[at] == merges[rank].left && ids[at + 1] == merges[rank].right)) ++at;
    if (at + 1 >= ids.size()) {
      ++rank;
      continue;
    }
    ids[at] = merges[rank].merged;
    ids.erase(ids.begin() + at + 1);
    rank = 0; // a merge may make a pair of lower rank possible
  }
  return ids;
}

/// Merges over the letters a to c: each joins two tokens that exist, as a trained vocabulary does.
std::vector<bpe_merge> random_merges(std::mt19937_64& random) {
  std::vector<std::string> tokens{"a", "b", "c"};
  std::map<std::string, token_id> ids{{"a", 'a'}, {"b", 'b'}, {"c", 'c'}};
  std::vector<bpe_merge> merges;
  std::map<std::pair<token_id, token_id>, bool> seen;
  while (merges.size() < 40) {
    const auto left = tokens[random() % tokens.size()];
    const auto right = tokens[random() % tokens.size()];
    if (!seen.emplace(std::pair(ids[left], ids[right]), true).second) continue;
    const auto [made, fresh] = ids.try_emplace(left + right, static_cast<token_id>(256 + ids.size()));
    if (fresh) tokens.push_back(left + right);
    merges.push_back({ids[left], ids[right], made->second});
  }
  std::shuffle(merges.begin(), merges.end(), random);
  return merges;
}

std::vector<token_id> encode(const bpe& pairs, std::string_view piece) {
  std::vector<token_id> ids;
  pairs.encode(piece, ids);
  return ids;
}

} // namespace

BOOST_AUTO_TEST_SUITE(bpe)

BOOST_AUTO_TEST_CASE(any_piece_of_any_length_encodes_as_the_definition_says) {
  TROUPE_RANDOM(random);
  for (int round = 0; round < 300; ++round) {
    const auto merges = random_merges(random);
    const troupe::model::bpe pairs(bytes_as_tokens(), merges);
    std::string piece(random() % 100, '\0'); // both below and above the length where the algorithm changes
    for (auto& byte : piece) byte = "abc"[random() % 3];

    BOOST_TEST(encode(pairs, piece) == merge_by_definition(merges, piece), boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(of_equal_pairs_the_leftmost_merges_first) {
  const troupe::model::bpe pairs(bytes_as_tokens(), {{'a', 'a', 300}});
  const std::vector<token_id> expected{300, 300, 'a'};
  BOOST_TEST(encode(pairs, "aaaaa") == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_shortcut_wins_over_merging) {
  troupe::model::bpe pairs(bytes_as_tokens(), {{'a', 'b', 300}});
  pairs.add_shortcut("abc", 301);
  BOOST_TEST(encode(pairs, "abc") == std::vector<token_id>{301}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
