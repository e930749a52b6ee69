// Any bytes are either refused as a safetensors file in one line, or list tensors that tile their data exactly.
#include "runtime/core/invariant.hpp"
#include "runtime/model/safetensors.hpp"

#include <cstring>
#include <set>

using namespace troupe;
using namespace troupe::model;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto image = std::as_bytes(std::span(data, size));
  const auto parsed = parse_safetensors(image, "w.safetensors");
  if (!parsed) {
    invariant(parsed.error().message.starts_with("w.safetensors: "), "a refusal names the file");
    invariant(parsed.error().message.find('\n') == std::string::npos, "a refusal is one line");
    return 0;
  }
  std::size_t header_length = 0;
  std::memcpy(&header_length, data, 8);
  std::size_t covered = 8 + header_length;
  std::set<std::string_view> names;
  for (const auto& tensor : *parsed) {
    invariant(names.insert(tensor.name).second, "names are unique");
    const auto bytes = tensor.bytes;
    invariant(bytes.data() >= image.data() && bytes.data() + bytes.size() <= image.data() + size,
              "bytes are the file's");
    covered += bytes.size();
  }
  invariant(covered == size, "tensors cover the data once");
  return 0;
}
