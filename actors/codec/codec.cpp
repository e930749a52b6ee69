// `writer` and `reader` walk through the fields of a message (fields.hpp), each in its direction.
#include "actors/codec/codec.hpp"

#include "actors/codec/fields.hpp"
#include "runtime/core/invariant.hpp"
#include "runtime/core/limits.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_control_block.hpp>
#include <caf/actor_registry.hpp>
#include <caf/actor_system.hpp>
#include <caf/error.hpp>
#include <caf/node_id.hpp>

#include <capnp/message.h>
#include <capnp/schema.h>
#include <capnp/serialize.h>

#include <cstdint>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace troupe::codec {

namespace {

using context_ptr = caf::execution_unit*;

/// Stays within this file: decode() makes an error of it.
struct malformed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// As CAF knows them.
template <class T>
concept actor_handle = requires {
  T::has_weak_ptr_semantics;
};

// -- values -----------------------------------------------------------------------------------------------------------

template <class T>
requires std::is_arithmetic_v<T> T wire_of(T x) { return x; }

template <class Tag, class T>
T wire_of(strong_id<Tag, T> x) {
  return x.value;
}

/// Valid while `x` is.
capnp::Text::Reader wire_of(const std::string& x) { return {x.data(), x.size()}; }

schema::ErrorCode wire_of(errc x) { return static_cast<schema::ErrorCode>(x); }

template <class T>
requires std::is_arithmetic_v<T>
void assign(T& x, T from) { x = from; }

template <class Tag, class T>
void assign(strong_id<Tag, T>& x, T from) {
  x.value = from;
}

void assign(std::string& x, capnp::Text::Reader from) { x.assign(from.begin(), from.size()); }

void assign(errc& x, schema::ErrorCode from) {
  const bool known = from >= schema::ErrorCode::BAD_INPUT && from <= schema::ErrorCode::BUG;
  x = known ? static_cast<errc>(from) : errc::bug; // of a newer peer
}

// -- handles ----------------------------------------------------------------------------------------------------------

void write_handle(schema::ActorRef::Builder out, const caf::strong_actor_ptr& whom) {
  if (!whom) return;
  auto& here = *whom->home_system;
  const auto node = whom->node();
  if (node == here.node() && !here.registry().get(whom->id())) here.registry().put(whom->id(), whom);
  if (node) out.setNode(to_string(node));
  out.setId(whom->id());
}

caf::strong_actor_ptr read_handle(schema::ActorRef::Reader from, context_ptr context) {
  caf::strong_actor_ptr whom;
  if (from.getId() == 0) return whom; // null: actors count from 1
  caf::node_id node;
  const std::string uri = from.getNode();
  if (!uri.empty() && caf::parse(uri, node)) throw malformed("an actor's node is no uri");
  if (caf::load_actor(whom, context, from.getId(), node)) throw malformed("a handle has no way to its actor");
  return whom;
}

// -- both directions --------------------------------------------------------------------------------------------------

template <class Builder>
struct writer {
  Builder out;

  template <class Value, class T, class Get>
  void operator()(void (Builder::*set)(Value), Get, T& x) const {
    (copy().*set)(wire_of(x));
  }

  template <class Inner, class T, class Get>
  void operator()(Inner (Builder::*init)(), Get, T& x) const {
    put((copy().*init)(), x);
  }

  template <class List, class T, class Get>
  void operator()(List (Builder::*init)(unsigned), Get, std::vector<T>& xs) const {
    auto list = (copy().*init)(static_cast<unsigned>(xs.size()));
    for (unsigned i = 0; i < list.size(); ++i) {
      if constexpr (requires { list.set(i, wire_of(xs[i])); })
        list.set(i, wire_of(xs[i]));
      else
        put(list[i], xs[i]);
    }
  }

 private:
  Builder copy() const { return out; } // a pointer in disguise

  template <class Inner, class T>
  void put(Inner inner, const T& x) const {
    if constexpr (actor_handle<T>)
      write_handle(inner, caf::actor_cast<caf::strong_actor_ptr>(x));
    else
      each_field(writer<Inner>{inner}, const_cast<T&>(x)); // the same list reads; a writer changes nothing
  }
};

template <class Reader>
struct reader {
  Reader from;
  context_ptr context;

  template <class Set, class Value, class T>
  void operator()(Set, Value (Reader::*get)() const, T& x) const {
    take((from.*get)(), x);
  }

 private:
  template <class Value, class T>
  void take(Value value, T& x) const {
    if constexpr (requires { assign(x, value); })
      assign(x, value);
    else if constexpr (actor_handle<T>)
      x = caf::actor_cast<T>(read_handle(value, context));
    else
      each_field(reader<Value>{value, context}, x);
  }

  template <class List, class T>
  void take(List list, std::vector<T>& xs) const {
    xs.clear();
    xs.reserve(list.size());
    for (const auto value : list) take(value, xs.emplace_back());
  }
};

// -- messages ---------------------------------------------------------------------------------------------------------

template <class T>
using schema_type = decltype(schema_of(std::declval<T>()));

/// "JoinCluster: why", in one line.
template <class T>
error refusal(std::string_view why) {
  return {errc::bad_input, name_of<T>() + ": " + std::string(why.substr(0, why.find('\n')))};
}

template <class T>
T read_message(kj::ArrayPtr<const capnp::word> words, context_ptr context) {
  capnp::ReaderOptions limits;
  limits.traversalLimitInWords = 2 * words.size() + 64; // every field is read once; a bomb refers to the same twice
  limits.nestingLimit = nesting_max;
  capnp::FlatArrayMessageReader message(words, limits);
  if (message.getEnd() != words.end()) throw malformed("bytes follow its end");
  T out;
  auto root = message.getRoot<schema_type<T>>();
  each_field(reader<decltype(root)>{root, context}, out);
  return out;
}

/// The bytes as words; in `scratch` if they do not lie at a multiple of 8.
kj::ArrayPtr<const capnp::word> words_of(std::span<const std::byte> bytes, kj::Array<capnp::word>& scratch) {
  const auto size = bytes.size() / sizeof(capnp::word);
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(capnp::word) == 0)
    return {reinterpret_cast<const capnp::word*>(bytes.data()), size};
  scratch = kj::heapArray<capnp::word>(size);
  std::memcpy(scratch.begin(), bytes.data(), size * sizeof(capnp::word));
  return scratch;
}

} // namespace

template <class T>
std::string name_of() {
  return capnp::Schema::from<schema_type<T>>().getShortDisplayName().cStr();
}

template <class T>
std::vector<std::byte> encode(const T& message) {
  capnp::MallocMessageBuilder builder;
  auto root = builder.initRoot<schema_type<T>>();
  each_field(writer<decltype(root)>{root}, const_cast<T&>(message));
  const auto words = capnp::messageToFlatArray(builder);
  const auto bytes = std::as_bytes(std::span(words.begin(), words.size()));
  return {bytes.begin(), bytes.end()};
}

template <class T>
result<T> decode(std::span<const std::byte> bytes, context_ptr context) {
  if (bytes.empty() || bytes.size() % sizeof(capnp::word) != 0 || bytes.size() > limits::frame_meta_bytes_max)
    return refusal<T>("no message has " + std::to_string(bytes.size()) + " bytes");
  try {
    kj::Array<capnp::word> scratch;
    return read_message<T>(words_of(bytes, scratch), context);
  } catch (const kj::Exception& e) {
    return refusal<T>(e.getDescription().cStr());
  } catch (const std::exception& e) {
    return refusal<T>(e.what());
  }
}

/// Makes the functions of every message.
template <class Messages>
struct instances;

template <class... Ts>
struct instances<std::tuple<Ts...>> {
  static constexpr std::tuple all{&name_of<Ts>..., &encode<Ts>..., &decode<Ts>...};
};

template struct instances<messages>;

} // namespace troupe::codec
