// JSON from strangers: RFC 8259 to the letter, and without what two readers may understand differently.
#pragma once

#include "runtime/core/result.hpp"

#include <boost/json/value.hpp>

#include <cstddef>
#include <string_view>

namespace troupe::model {

/// Parses one document. Refused beside bad syntax: invalid UTF-8, lone surrogates, more than limits::json_depth_max
/// levels, a key twice in one object (also spelled with escapes), more than `keys_max` keys in one object, numbers that
/// no double can hold. Errors: bad_input with the reason alone; it is valid UTF-8 and may quote a key.
result<boost::json::value> parse_strict_json(std::string_view text, std::size_t keys_max);

} // namespace troupe::model
