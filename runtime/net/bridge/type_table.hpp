// Types travel as numbers. Each process numbers the types (and codecs) it knows and tells its peers with the handshake
// which names the numbers stand for; a number that the receiver has no type for is refused by that name.
#pragma once

#include "runtime/core/result.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/rtti_pair.hpp>
#include <caf/type_erased_value.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <typeindex>
#include <unordered_map>
#include <vector>

namespace troupe::net {

using type_number = std::uint16_t;

/// This process's types: CAF's own, then those of the config in the order of their names.
class type_table {
 public:
  type_table(const caf::actor_system& system, const caf::actor_system_config& config);

  const std::vector<std::string>& names() const { return names_; }
  /// Nothing for a type that was not registered.
  std::optional<type_number> find(const caf::rtti_pair& type) const;
  std::optional<type_number> find(const std::string& name) const;
  caf::type_erased_value_ptr make(type_number type) const { return makers_[type](); }

 private:
  std::vector<std::string> names_;
  std::vector<std::function<caf::type_erased_value_ptr()>> makers_;
  std::unordered_map<std::type_index, type_number> custom_;
  std::unordered_map<std::string, type_number> by_name_;
};

/// What a process tells its peers about itself.
struct bridge_hello {
  std::vector<std::string> types;  ///< [type_number]
  std::vector<std::string> codecs; ///< [number - 1]; 0 is the generic form
};

std::vector<std::byte> write_hello(const bridge_hello& hello);
/// Errors: bad_input for what is no hello of this version.
result<bridge_hello> read_hello(std::span<const std::byte> bytes);

/// A peer's numbers in ours; empty where we have no such name.
struct peer_numbers {
  bridge_hello theirs;
  std::vector<std::optional<std::uint16_t>> types;
  std::vector<std::optional<std::uint16_t>> codecs; ///< [their number - 1]: our number
};

} // namespace troupe::net
