// Byte-pair encoding of one piece of text (model-spec.md 11.1): from byte symbols, merge the adjacent pair of lowest
// rank, leftmost on ties, until none is left. O(n log n), because a client may send megabytes of letters as one piece.
#pragma once

#include "runtime/core/ids.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::model {

/// Two adjacent tokens become one. Its rank is its place in the list of merges.
struct bpe_merge {
  token_id left;
  token_id right;
  token_id merged;
};

/// Immutable and thread-safe.
class bpe {
 public:
  /// `byte_tokens[b]` is the token of the single byte b. A pair listed twice has its last rank.
  bpe(std::array<token_id, 256> byte_tokens, std::vector<bpe_merge> merges);

  /// Makes `bytes` encode as `id` without merging (ignore_merges, or because merging is known to end there).
  void add_shortcut(std::string bytes, token_id id) { shortcuts_.insert_or_assign(std::move(bytes), id); }

  /// Appends the tokens of `piece`, which is shorter than 4 GiB.
  void encode(std::string_view piece, std::vector<token_id>& out) const;
  /// The same without shortcuts.
  void merge(std::string_view piece, std::vector<token_id>& out) const;

 private:
  struct bytes_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view bytes) const { return std::hash<std::string_view>{}(bytes); }
  };

  /// The rank of merging `left` with `right`, or no_rank.
  std::uint32_t rank_of(token_id left, token_id right) const;
  void merge_short(std::string_view piece, std::vector<token_id>& out) const;
  void merge_long(std::string_view piece, std::vector<token_id>& out) const;

  std::array<token_id, 256> byte_tokens_;
  std::vector<bpe_merge> merges_; // by rank
  boost::unordered_flat_map<std::uint64_t, std::uint32_t> ranks_;
  boost::unordered_flat_map<std::string, token_id, bytes_hash, std::equal_to<>> shortcuts_;
};

} // namespace troupe::model
