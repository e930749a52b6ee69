#include "runtime/model/file_error.hpp"

#include <algorithm>

namespace troupe::model {

error file_error(std::string_view file, std::string_view place, std::string_view reason, errc code) {
  std::string line(file);
  if (!place.empty()) (line += ": ") += place;
  (line += ": ") += reason;
  std::ranges::replace_if(
      line, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  return {code, std::move(line)};
}

} // namespace troupe::model
