#include "runtime/model/safetensors.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/model/file_error.hpp"
#include "runtime/model/safetensors_header.hpp"

#include <algorithm>
#include <cstring>

namespace troupe::model {
namespace {

using kernels::tensor_type;

constexpr std::size_t length_bytes = 8;

struct dtype_row {
  std::string_view name;
  std::uint64_t bytes;
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

/// The header's text, once its length makes sense.
result<std::string_view> header_of(std::span<const std::byte> image, std::string_view file) {
  const auto bad = [&](const std::string& reason) { return file_error(file, "header", reason); };
  if (image.size() < length_bytes)
    return bad("the file has " + std::to_string(image.size()) + " bytes, at least 8 are needed");
  std::uint64_t length = 0;
  std::memcpy(&length, image.data(), length_bytes);
  const auto most = std::min<std::uint64_t>(image.size() - length_bytes, limits::safetensors_header_bytes_max);
  if (length > most)
    return bad("claims " + std::to_string(length) + " bytes, at most " + std::to_string(most) + " are possible");
  return std::string_view(reinterpret_cast<const char*>(image.data() + length_bytes), length);
}

/// Finds the bytes of one tensor in `data`.
result<safetensors_entry> locate(safetensors_line line, std::span<const std::byte> data, std::string_view file) {
  const auto bad = [&](const std::string& reason) { return file_error(file, line.name, reason); };
  const auto* row = std::ranges::find(dtypes, line.dtype, &dtype_row::name);
  if (row == std::end(dtypes)) return bad("unknown dtype " + line.dtype);
  const auto begin = static_cast<std::uint64_t>(line.data_offsets[0]);
  const auto end = static_cast<std::uint64_t>(line.data_offsets[1]);
  if (begin > end) return bad("data_offsets end before they begin");
  if (end > data.size())
    return bad("ends at byte " + std::to_string(end) + " of " + std::to_string(data.size()) +
               "; is the file truncated?");
  std::uint64_t bytes = row->bytes;
  for (const auto size : line.shape)
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes)) return bad("shape overflows");
  if (bytes != end - begin)
    return bad("has " + std::to_string(end - begin) + " bytes, but " + line.dtype + " " + shape_text(line.shape) +
               " needs " + std::to_string(bytes));
  return safetensors_entry{std::move(line.name), std::move(line.dtype), row->type, std::move(line.shape),
                           data.subspan(begin, bytes)};
}

/// Tensors must cover the data from first to last byte, without holes or overlaps.
result<void> check_cover(const std::vector<safetensors_entry>& entries, std::span<const std::byte> data,
                         std::string_view file) {
  std::vector<const safetensors_entry*> order;
  for (const auto& entry : entries) order.push_back(&entry);
  std::ranges::sort(order, {}, [](const auto* e) { return std::pair(e->bytes.data(), e->bytes.size()); });
  const auto* next = data.data();
  for (const auto* entry : order) {
    if (entry->bytes.data() < next) return file_error(file, entry->name, "overlaps the tensor before it");
    if (entry->bytes.data() > next) return file_error(file, entry->name, "leaves a hole before it");
    next += entry->bytes.size();
  }
  const auto rest = data.data() + data.size() - next;
  if (rest > 0) return file_error(file, "header", "no tensor covers the last " + std::to_string(rest) + " bytes");
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
  TROUPE_ASSIGN(auto lines, parse_safetensors_header(header, file));
  const auto data = image.subspan(length_bytes + header.size());
  std::vector<safetensors_entry> entries;
  entries.reserve(lines.size());
  for (auto& line : lines) {
    TROUPE_ASSIGN(auto entry, locate(std::move(line), data, file));
    entries.push_back(std::move(entry));
  }
  TROUPE_TRY(check_cover(entries, data, file));
  return entries;
}

} // namespace troupe::model
