// Tokens that are cut out of a text before anything else looks at it, like `<｜User｜>`: leftmost, longest match
// (model-spec.md 11.2). A trie, so that a text full of '<' costs no more than another.
#pragma once

#include "runtime/core/ids.hpp"

#include <boost/unordered/unordered_flat_map.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace troupe::model {

/// Immutable and thread-safe once filled.
class added_tokens {
 public:
  /// A token found in a text, at a byte offset.
  struct match {
    std::size_t offset;
    std::size_t size;
    token_id id;
  };

  void add(std::string_view content, token_id id);
  /// The first token at or after `from`, the longest of those that start there.
  std::optional<match> find(std::string_view text, std::size_t from) const;

 private:
  std::optional<match> longest_at(std::string_view text, std::size_t offset) const;

  boost::unordered_flat_map<std::uint64_t, std::uint32_t> edges_; // (node, byte) -> node; the root is 0
  std::vector<token_id> token_of_node_{-1};
  std::array<bool, 256> starts_token_{};
};

} // namespace troupe::model
