#include "runtime/model/added_tokens.hpp"

namespace troupe::model {
namespace {

std::uint64_t edge(std::uint32_t node, char byte) { return std::uint64_t{node} << 8 | static_cast<std::uint8_t>(byte); }

} // namespace

void added_tokens::add(std::string_view content, token_id id) {
  if (content.empty()) return;
  starts_token_[static_cast<std::uint8_t>(content[0])] = true;
  std::uint32_t node = 0;
  for (const char byte : content) {
    const auto next = static_cast<std::uint32_t>(token_of_node_.size());
    const auto [found, fresh] = edges_.try_emplace(edge(node, byte), next);
    if (fresh) token_of_node_.push_back(-1);
    node = found->second;
  }
  token_of_node_[node] = id;
}

std::optional<added_tokens::match> added_tokens::find(std::string_view text, std::size_t from) const {
  for (std::size_t offset = from; offset < text.size(); ++offset)
    if (starts_token_[static_cast<std::uint8_t>(text[offset])])
      if (const auto found = longest_at(text, offset)) return found;
  return std::nullopt;
}

std::optional<added_tokens::match> added_tokens::longest_at(std::string_view text, std::size_t offset) const {
  std::optional<match> longest;
  std::uint32_t node = 0;
  for (std::size_t at = offset; at < text.size(); ++at) {
    const auto found = edges_.find(edge(node, text[at]));
    if (found == edges_.end()) break;
    node = found->second;
    if (token_of_node_[node] >= 0) longest = match{offset, at + 1 - offset, token_of_node_[node]};
  }
  return longest;
}

} // namespace troupe::model
