// Our errors inside CAF's.
#pragma once

#include "runtime/core/errc.hpp"

#include <caf/atom.hpp>
#include <caf/error.hpp>
#include <caf/make_message.hpp>

#include <cstdint>

namespace troupe::net {

inline caf::error to_caf_error(const error& e) {
  return {static_cast<std::uint8_t>(e.code), caf::atom("troupe"), caf::make_message(e.message)};
}

} // namespace troupe::net
