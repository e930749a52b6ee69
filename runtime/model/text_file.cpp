#include "runtime/model/text_file.hpp"

#include "runtime/core/limits.hpp"

#include <fstream>

namespace troupe::model {

result<std::string> read_text_file(const std::filesystem::path& path) {
  std::error_code code;
  const auto size = std::filesystem::file_size(path, code);
  if (code == std::errc::no_such_file_or_directory) return error{errc::not_found, path.string() + ": no such file"};
  if (code) return error{errc::bad_input, path.string() + ": " + code.message()};
  if (size > limits::json_file_bytes_max) return error{errc::bad_input, path.string() + ": file is too large"};
  std::string text(size, '\0');
  std::ifstream in(path, std::ios::binary);
  if (!in.read(text.data(), static_cast<std::streamsize>(size)))
    return error{errc::bad_input, path.string() + ": cannot be read"};
  return text;
}

} // namespace troupe::model
