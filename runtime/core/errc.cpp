#include "runtime/core/errc.hpp"

namespace troupe {

std::string_view to_string(errc code) {
  switch (code) {
  case errc::bad_input: return "bad_input";
  case errc::not_found: return "not_found";
  case errc::overloaded: return "overloaded";
  case errc::disconnected: return "disconnected";
  case errc::unsupported: return "unsupported";
  case errc::cancelled: return "cancelled";
  case errc::bug: return "bug";
  }
  return "unknown";
}

} // namespace troupe
