#include "runtime/net/bridge/type_table.hpp"

#include "runtime/core/invariant.hpp"
#include "runtime/core/limits.hpp"

#include <caf/type_nr.hpp>

#include <algorithm>
#include <cstring>
#include <map>

namespace troupe::net {

namespace {

constexpr std::uint32_t hello_version = 0x0117'0001; ///< of CAF's own types, of this format

void put(std::vector<std::byte>& out, const void* from, std::size_t size) {
  const auto* const bytes = static_cast<const std::byte*>(from);
  out.insert(out.end(), bytes, bytes + size);
}

void put_names(std::vector<std::byte>& out, const std::vector<std::string>& names) {
  const auto count = static_cast<std::uint16_t>(names.size());
  put(out, &count, sizeof count);
  for (const auto& name : names) {
    const auto size = static_cast<std::uint16_t>(name.size());
    put(out, &size, sizeof size);
    put(out, name.data(), name.size());
  }
}

bool take(std::span<const std::byte>& rest, void* to, std::size_t size) {
  if (rest.size() < size) return false;
  std::memcpy(to, rest.data(), size);
  rest = rest.subspan(size);
  return true;
}

bool take_names(std::span<const std::byte>& rest, std::vector<std::string>& names) {
  std::uint16_t count = 0;
  if (!take(rest, &count, sizeof count)) return false;
  for (int i = 0; i < count; ++i) {
    std::uint16_t size = 0;
    if (!take(rest, &size, sizeof size) || rest.size() < size) return false;
    names.emplace_back(size, '\0');
    take(rest, names.back().data(), size);
  }
  return true;
}

} // namespace

type_table::type_table(const caf::actor_system& system, const caf::actor_system_config& config) {
  for (std::uint16_t nr = 1; nr < caf::type_nrs; ++nr) {
    names_.push_back(system.types().portable_name(nr, nullptr));
    makers_.push_back([&system, nr] { return system.types().make_value(nr); });
  }
  const std::map<std::string, caf::actor_system_config::value_factory> sorted(config.value_factories_by_name.begin(),
                                                                              config.value_factories_by_name.end());
  for (const auto& [name, maker] : sorted) {
    names_.push_back(name);
    makers_.push_back(maker);
  }
  invariant(names_.size() < UINT16_MAX, "more message types than numbers");
  for (std::size_t i = 0; i < names_.size(); ++i) by_name_.emplace(names_[i], static_cast<type_number>(i));
  for (const auto& [type, name] : config.type_names_by_rtti) custom_.emplace(type, by_name_.at(name));
}

std::optional<type_number> type_table::find(const caf::rtti_pair& type) const {
  if (type.first != 0) return static_cast<type_number>(type.first - 1);
  const auto known = custom_.find(std::type_index(*type.second));
  return known == custom_.end() ? std::nullopt : std::optional(known->second);
}

std::optional<type_number> type_table::find(const std::string& name) const {
  const auto known = by_name_.find(name);
  return known == by_name_.end() ? std::nullopt : std::optional(known->second);
}

std::vector<std::byte> write_hello(const bridge_hello& hello) {
  std::vector<std::byte> out;
  put(out, &hello_version, sizeof hello_version);
  put_names(out, hello.types);
  put_names(out, hello.codecs);
  invariant(out.size() <= limits::card_hello_bytes_max,
            "the names of the message types are longer than a hello may be");
  return out;
}

result<bridge_hello> read_hello(std::span<const std::byte> bytes) {
  std::uint32_t version = 0;
  if (!take(bytes, &version, sizeof version) || version != hello_version)
    return error{errc::bad_input, "the peer speaks another version of actor messages"};
  bridge_hello out;
  if (!take_names(bytes, out.types) || !take_names(bytes, out.codecs) || !bytes.empty())
    return error{errc::bad_input, "the peer's table of message types is malformed"};
  return out;
}

} // namespace troupe::net
