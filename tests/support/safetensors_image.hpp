// Writes safetensors files: well-formed ones tensor by tensor, and any header over any data for tests of refusal.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::test {

/// A file image of this header and these data. `length` overrides what the first 8 bytes say.
inline std::string safetensors_file(std::string_view header, std::string_view data, std::uint64_t length = ~0ull) {
  if (length == ~0ull) length = header.size();
  std::string image(8, '\0');
  std::memcpy(image.data(), &length, 8);
  return image.append(header).append(data);
}

/// Collects tensors and lays them out one after the other, without padding between them.
class safetensors_image {
 public:
  safetensors_image& add(std::string_view name, std::string_view dtype, const std::vector<std::int64_t>& shape,
                         std::string_view bytes) {
    std::string sizes;
    for (const auto size : shape) sizes += (sizes.empty() ? "" : ",") + std::to_string(size);
    header_ += (header_.empty() ? "" : ",") + ("\"" + std::string(name)) + "\":{\"dtype\":\"" + std::string(dtype) +
               "\",\"shape\":[" + sizes + "],\"data_offsets\":[" + std::to_string(data_.size()) + "," +
               std::to_string(data_.size() + bytes.size()) + "]}";
    data_ += bytes;
    return *this;
  }

  template <class T>
  safetensors_image& add(std::string_view name, std::string_view dtype, const std::vector<std::int64_t>& shape,
                         const std::vector<T>& values) {
    return add(name, dtype, shape, {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)});
  }

  std::string file() const { return safetensors_file("{" + header_ + "}", data_); }

 private:
  std::string header_, data_;
};

} // namespace troupe::test
