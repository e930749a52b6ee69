#include "runtime/model/safetensors.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/model/duplicate_keys.hpp"
#include "runtime/model/json_fields.hpp"
#include "runtime/model/utf8.hpp"

#include <boost/json/array.hpp>

#include <algorithm>
#include <cstring>
#include <limits>

namespace troupe::model {
namespace {

namespace json = boost::json;
using kernels::tensor_type;

constexpr std::size_t length_bytes = 8;

struct dtype_row {
  std::string_view name;
  std::size_t bytes;
  std::optional<tensor_type> type;
};
constexpr dtype_row dtypes[] = {
    {"F32", 4, tensor_type::f32},
    {"BF16", 2, tensor_type::bf16},
    {"F16", 2, tensor_type::f16},
    {"F8_E4M3", 1, tensor_type::f8_e4m3},
    {"F8_E5M2", 1, {}},
    {"F64", 8, {}},
    {"I64", 8, {}},
    {"U64", 8, {}},
    {"I32", 4, {}},
    {"U32", 4, {}},
    {"I16", 2, {}},
    {"U16", 2, {}},
    {"I8", 1, {}},
    {"U8", 1, {}},
    {"BOOL", 1, {}},
};

// One tensor's header entry, with offsets not yet compared with other tensors'.
struct entry_reader {
  std::string_view file;
  std::string_view name;
  std::span<const std::byte> data;

  error bad(std::string_view reason) const {
    return {errc::bad_input, std::string(file) + ": " + std::string(name) + ": " + std::string(reason)};
  }

  result<safetensors_entry> read(const json::value& value) const {
    if (!value.is_object()) return bad("must be an object");
    const auto& object = value.get_object();
    safetensors_entry entry;
    entry.name = name;
    const auto* dtype = object.if_contains("dtype");
    if (!dtype || !dtype->is_string()) return bad("dtype is missing");
    entry.dtype = dtype->get_string();
    const auto* row =
        std::find_if(std::begin(dtypes), std::end(dtypes), [&](auto& d) { return d.name == entry.dtype; });
    if (row == std::end(dtypes)) return bad("unknown dtype '" + entry.dtype + "'");
    entry.type = row->type;
    TROUPE_ASSIGN(entry.shape, sizes(object, "shape"));
    TROUPE_ASSIGN(const auto offsets, sizes(object, "data_offsets"));
    if (offsets.size() != 2 || offsets[0] > offsets[1]) return bad("data_offsets must be [begin, end]");
    if (static_cast<std::uint64_t>(offsets[1]) > data.size())
      return bad("ends at byte " + std::to_string(offsets[1]) + " of " + std::to_string(data.size()) +
                 "; is the file truncated?");
    const auto bytes = static_cast<std::size_t>(offsets[1] - offsets[0]);
    TROUPE_TRY(check_size(entry, row->bytes, bytes));
    entry.bytes = data.subspan(static_cast<std::size_t>(offsets[0]), bytes);
    return entry;
  }

  result<std::vector<std::int64_t>> sizes(const json::object& object, std::string_view field) const {
    const auto* value = object.if_contains({field.data(), field.size()});
    if (!value || !value->is_array()) return bad(std::string(field) + " is missing");
    std::vector<std::int64_t> found;
    for (const auto& item : value->get_array()) {
      if (!item.is_int64() || item.get_int64() < 0) return bad(std::string(field) + " must hold whole numbers");
      found.push_back(item.get_int64());
    }
    return found;
  }

  result<void> check_size(const safetensors_entry& entry, std::size_t element_bytes, std::size_t bytes) const {
    std::uint64_t expected = element_bytes;
    for (const auto size : entry.shape)
      if (__builtin_mul_overflow(expected, static_cast<std::uint64_t>(size), &expected)) return bad("shape overflows");
    if (expected == bytes) return {};
    return bad("has " + std::to_string(bytes) + " bytes, " + entry.dtype + " " + shape_text(entry.shape) + " needs " +
               std::to_string(expected));
  }
};

// The header's text, once its length makes sense.
result<std::string_view> header_of(std::span<const std::byte> image, std::string_view file) {
  const auto bad = [&](std::string_view reason) {
    return error{errc::bad_input, std::string(file) + ": header: " + std::string(reason)};
  };
  if (image.size() < length_bytes) return bad("file is shorter than 8 bytes");
  std::uint64_t length = 0;
  std::memcpy(&length, image.data(), length_bytes);
  const auto most = std::min<std::uint64_t>(image.size() - length_bytes, limits::safetensors_header_bytes_max);
  if (length > most)
    return bad("claims " + std::to_string(length) + " bytes, at most " + std::to_string(most) + " are possible");
  const std::string_view text(reinterpret_cast<const char*>(image.data() + length_bytes), length);
  if (text.empty() || text.front() != '{') return bad("must begin with '{'");
  if (find_invalid_utf8(text) != text.npos) return bad("is not UTF-8");
  return text;
}

// Tensors must cover the data from first to last byte, without holes or overlaps.
result<void> check_cover(const std::vector<safetensors_entry>& entries, std::span<const std::byte> data,
                         std::string_view file) {
  std::vector<const safetensors_entry*> order;
  for (const auto& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return std::pair(a->bytes.data(), a->bytes.size()) < std::pair(b->bytes.data(), b->bytes.size());
  });
  const auto* next = data.data();
  for (const auto* entry : order) {
    if (entry->bytes.data() != next)
      return error{errc::bad_input,
                   std::string(file) + ": " + entry->name + ": " +
                       (entry->bytes.data() < next ? "overlaps the tensor before it" : "leaves a hole before it")};
    next += entry->bytes.size();
  }
  if (next != data.data() + data.size())
    return error{errc::bad_input, std::string(file) + ": header: tensors do not cover the last " +
                                      std::to_string(data.data() + data.size() - next) + " bytes"};
  return {};
}

} // namespace

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (const auto size : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

result<std::vector<safetensors_entry>> parse_safetensors(std::span<const std::byte> image, std::string_view file) {
  TROUPE_ASSIGN(const auto header, header_of(image, file));
  const auto data = image.subspan(length_bytes + header.size());
  TROUPE_ASSIGN(const auto object, parse_json_object(header, file));
  if (const auto twice = first_duplicate_key(header))
    return error{errc::bad_input, std::string(file) + ": " + *twice + ": appears twice in the header"};
  std::vector<safetensors_entry> entries;
  entries.reserve(object.size());
  for (const auto& [key, value] : object) {
    const std::string_view name(key.data(), key.size());
    if (name == "__metadata__") continue;
    TROUPE_ASSIGN(auto entry, (entry_reader{file, name, data}.read(value)));
    entries.push_back(std::move(entry));
  }
  TROUPE_TRY(check_cover(entries, data, file));
  return entries;
}

} // namespace troupe::model
