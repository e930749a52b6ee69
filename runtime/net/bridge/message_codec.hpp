// Messages with a wire form of their own instead of CAF's element by element: plain values copied as they lie in
// memory, or whatever a schema says (Cap'n Proto). Everything else takes the generic form.
#pragma once

#include "runtime/core/result.hpp"
#include "runtime/core/segment.hpp"
#include "runtime/net/bridge/received.hpp"

#include <caf/rtti_pair.hpp>
#include <caf/type_erased_tuple.hpp>

#include <cstddef>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace troupe::net {

/// The parts of a frame while it is written: `meta` is copied once more by the transport, segments never.
struct frame_parts {
  std::vector<char>& meta;
  std::vector<segment>& segments;
};

/// Who sent a received message, to whom the answer goes, and the room it holds.
struct received_from {
  caf::strong_actor_ptr sender;
  caf::message_id id;
  receipt room;
  caf::execution_unit* context = nullptr; ///< for handles inside the message
};

struct message_codec {
  std::string name; ///< both sides must know it
  std::vector<caf::rtti_pair> types;
  std::function<void(const caf::type_erased_tuple&, frame_parts)> encode;
  /// `meta` is aligned to 16. Errors: bad_input.
  std::function<result<caf::mailbox_element_ptr>(received_from, std::span<const std::byte> meta, std::span<segment>)>
      decode;
};

/// For a message of exactly one `T`: `encode` writes it behind what `meta` holds already, `decode` gets what it wrote.
template <class T>
message_codec codec_of(std::string name, std::function<void(const T&, frame_parts)> encode,
                       std::function<result<T>(std::span<const std::byte> meta, std::span<segment>)> decode) {
  message_codec out{std::move(name), {caf::make_rtti_pair<T>()}, nullptr, nullptr};
  out.encode = [encode](const caf::type_erased_tuple& content, frame_parts to) {
    encode(*static_cast<const T*>(content.get(0)), to);
  };
  out.decode = [decode](received_from from, std::span<const std::byte> meta,
                        std::span<segment> segments) -> result<caf::mailbox_element_ptr> {
    TROUPE_ASSIGN(auto value, decode(meta, segments));
    return caf::mailbox_element_ptr(
        new received_values<T>(std::move(from.sender), from.id, std::move(from.room), std::tuple<T>(std::move(value))));
  };
  return out;
}

/// For messages of plain values, which travel as they lie in memory (peers are of one architecture). `Ts` as inside a
/// message: caf::atom_value instead of an atom constant.
template <class... Ts>
message_codec plain_codec(std::string name) {
  static_assert((std::is_trivially_copyable_v<Ts> && ...));
  message_codec out{std::move(name), {caf::make_rtti_pair<Ts>()...}, nullptr, nullptr};
  out.encode = [](const caf::type_erased_tuple& content, frame_parts to) {
    std::size_t i = 0;
    auto at = to.meta.size();
    to.meta.resize(at + (sizeof(Ts) + ... + 0));
    const auto append = [&](std::size_t size) {
      std::memcpy(to.meta.data() + at, content.get(i++), size);
      at += size;
    };
    (append(sizeof(Ts)), ...);
  };
  out.decode = [](received_from from, std::span<const std::byte> meta,
                  std::span<segment>) -> result<caf::mailbox_element_ptr> {
    if (meta.size() != (sizeof(Ts) + ... + 0)) return error{errc::bad_input, "a message of the wrong size"};
    std::tuple<Ts...> values;
    const auto take = [&](void* to, std::size_t size) {
      std::memcpy(to, meta.data(), size);
      meta = meta.subspan(size);
    };
    std::apply([&](auto&... x) { (take(&x, sizeof x), ...); }, values);
    return caf::mailbox_element_ptr(
        new received_values<Ts...>(std::move(from.sender), from.id, std::move(from.room), values));
  };
  return out;
}

} // namespace troupe::net
