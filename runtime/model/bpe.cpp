#include "runtime/model/bpe.hpp"

#include <algorithm>
#include <functional>
#include <limits>

namespace troupe::model {
namespace {

constexpr auto no_rank = std::numeric_limits<std::uint32_t>::max();
/// Up to here scanning all pairs for the best one beats keeping a heap.
constexpr std::size_t short_piece_bytes_max = 32;

std::uint64_t pair_key(token_id left, token_id right) {
  return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
}

/// A token of the piece being merged, in a doubly linked list by index.
struct link {
  token_id id; // -1 once it is merged into the token before it
  std::uint32_t previous;
  std::uint32_t next;
};

} // namespace

bpe::bpe(std::array<token_id, 256> byte_tokens, std::vector<bpe_merge> merges)
    : byte_tokens_(byte_tokens), merges_(std::move(merges)) {
  ranks_.reserve(merges_.size());
  for (std::uint32_t rank = 0; rank < merges_.size(); ++rank)
    ranks_[pair_key(merges_[rank].left, merges_[rank].right)] = rank;
}

std::uint32_t bpe::rank_of(token_id left, token_id right) const {
  const auto found = ranks_.find(pair_key(left, right));
  return found == ranks_.end() ? no_rank : found->second;
}

void bpe::encode(std::string_view piece, std::vector<token_id>& out) const {
  if (const auto found = shortcuts_.find(piece); found != shortcuts_.end())
    out.push_back(found->second);
  else
    merge(piece, out);
}

void bpe::merge(std::string_view piece, std::vector<token_id>& out) const {
  piece.size() <= short_piece_bytes_max ? merge_short(piece, out) : merge_long(piece, out);
}

void bpe::merge_short(std::string_view piece, std::vector<token_id>& out) const {
  std::array<token_id, short_piece_bytes_max> ids;
  std::array<std::uint32_t, short_piece_bytes_max> ranks; // ranks[i] merges ids[i] with ids[i + 1]
  std::size_t size = piece.size();
  for (std::size_t i = 0; i < size; ++i) ids[i] = byte_tokens_[static_cast<std::uint8_t>(piece[i])];
  const auto update = [&](std::size_t i) { ranks[i] = i + 1 < size ? rank_of(ids[i], ids[i + 1]) : no_rank; };
  for (std::size_t i = 0; i < size; ++i) update(i);
  while (size > 1) {
    const std::size_t at = std::min_element(ranks.begin(), ranks.begin() + size) - ranks.begin();
    if (ranks[at] == no_rank) break;
    ids[at] = merges_[ranks[at]].merged;
    std::copy(ids.begin() + at + 2, ids.begin() + size, ids.begin() + at + 1);
    std::copy(ranks.begin() + at + 2, ranks.begin() + size, ranks.begin() + at + 1);
    --size;
    update(at);
    if (at > 0) update(at - 1);
  }
  out.insert(out.end(), ids.begin(), ids.begin() + size);
}

void bpe::merge_long(std::string_view piece, std::vector<token_id>& out) const {
  const auto size = static_cast<std::uint32_t>(piece.size());
  std::vector<link> links(size);
  for (std::uint32_t i = 0; i < size; ++i) links[i] = {byte_tokens_[static_cast<std::uint8_t>(piece[i])], i - 1, i + 1};

  // Candidates are (rank, position of the left token) in one number. They are not removed when a neighbour changes:
  // a candidate counts only if the pair of its rank still stands at its position.
  std::vector<std::uint64_t> heap;
  const auto append_candidate = [&](std::uint32_t at) {
    const auto next = links[at].next;
    const auto rank = next < size ? rank_of(links[at].id, links[next].id) : no_rank;
    if (rank != no_rank) heap.push_back(std::uint64_t{rank} << 32 | at);
    return rank != no_rank;
  };
  const auto push_candidate = [&](std::uint32_t at) {
    if (append_candidate(at)) std::push_heap(heap.begin(), heap.end(), std::greater<>{});
  };
  for (std::uint32_t i = 0; i < size; ++i) append_candidate(i);
  std::make_heap(heap.begin(), heap.end(), std::greater<>{});

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>{});
    const auto at = static_cast<std::uint32_t>(heap.back());
    const auto& rule = merges_[heap.back() >> 32];
    heap.pop_back();
    auto& left = links[at];
    if (left.id != rule.left || left.next >= size || links[left.next].id != rule.right) continue;
    links[left.next].id = -1;
    left.id = rule.merged;
    left.next = links[left.next].next;
    if (left.next < size) links[left.next].previous = at;
    push_candidate(at);
    if (at > 0) push_candidate(left.previous);
  }
  for (std::uint32_t i = 0; i < size; i = links[i].next) out.push_back(links[i].id);
}

} // namespace troupe::model
