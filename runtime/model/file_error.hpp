// The one line that a wrong file is refused with. What it quotes from the file cannot harm a terminal or a log.
#pragma once

#include "runtime/core/errc.hpp"

#include <string_view>

namespace troupe::model {

/// "file: place: reason", or "file: reason" where `place` (a field, a tensor) is empty. Control characters become '?'.
error file_error(std::string_view file, std::string_view place, std::string_view reason, errc code = errc::bad_input);

} // namespace troupe::model
