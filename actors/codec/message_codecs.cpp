#include "actors/codec/message_codecs.hpp"

#include "actors/codec/codec.hpp"

#include <string>
#include <tuple>
#include <utility>

namespace troupe {

namespace {

template <class T>
net::message_codec codec_for() {
  net::message_codec out{codec::name_of<T>(), {caf::make_rtti_pair<T>()}, nullptr, nullptr};
  out.encode = [](const caf::type_erased_tuple& content, net::frame_parts to) {
    const auto bytes = codec::encode(*static_cast<const T*>(content.get(0)));
    const auto* const chars = reinterpret_cast<const char*>(bytes.data());
    to.meta.insert(to.meta.end(), chars, chars + bytes.size());
  };
  out.decode = [](net::received_from from, std::span<const std::byte> meta,
                  std::span<segment>) -> result<caf::mailbox_element_ptr> {
    TROUPE_ASSIGN(auto message, codec::decode<T>(meta, from.context));
    return caf::mailbox_element_ptr(new net::received_values<T>(std::move(from.sender), from.id, std::move(from.room),
                                                                std::tuple<T>(std::move(message))));
  };
  return out;
}

template <class... Ts>
std::vector<net::message_codec> codecs_for(std::tuple<Ts...>*) {
  return {codec_for<Ts>()...};
}

} // namespace

std::vector<net::message_codec> message_codecs() { return codecs_for(static_cast<codec::messages*>(nullptr)); }

} // namespace troupe
