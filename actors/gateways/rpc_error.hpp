// Our errors in a CAF reply and back, for clients that call us through actor RPC.
#pragma once

#include "runtime/core/errc.hpp"

#include <caf/atom.hpp>
#include <caf/error.hpp>
#include <caf/make_message.hpp>

#include <cstdint>
#include <string>

namespace troupe {

inline caf::error to_rpc_error(const error& e) {
  return {static_cast<std::uint8_t>(e.code), caf::atom("troupe"), caf::make_message(e.message)};
}

/// What CAF itself reports (time-outs, lost connections) becomes disconnected.
inline error from_rpc_error(const caf::error& e) {
  if (e.category() == caf::atom("troupe") && e.context().match_elements<std::string>())
    return {static_cast<errc>(e.code()), e.context().get_as<std::string>(0)};
  return {errc::disconnected, "the server does not answer"};
}

} // namespace troupe
