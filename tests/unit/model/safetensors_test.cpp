// Every way a safetensors file can be wrong gives one line that names the file, the tensor and the reason.
#include "runtime/core/limits.hpp"
#include "runtime/model/safetensors.hpp"
#include "tests/support/safetensors_image.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using test::safetensors_file;

namespace {

auto parse(std::string_view image) {
  return model::parse_safetensors(std::as_bytes(std::span(image)), "w.safetensors");
}

/// The message for `header` over `data_bytes` bytes of data.
std::string refusal(std::string_view header, std::size_t data_bytes) {
  const auto parsed = parse(safetensors_file(header, std::string(data_bytes, 'x')));
  BOOST_REQUIRE(!parsed);
  BOOST_TEST((parsed.error().code == errc::bad_input));
  return parsed.error().message;
}

/// The header entry of one tensor.
std::string tensor(std::string_view name, std::string_view dtype, std::string_view shape, std::string_view offsets) {
  return "\"" + std::string(name) + "\":{\"dtype\":\"" + std::string(dtype) + "\",\"shape\":" + std::string(shape) +
         ",\"data_offsets\":" + std::string(offsets) + "}";
}

std::string object(const std::string& entries) { return "{" + entries + "}"; }

} // namespace

#define TEST_REFUSED(header, data_bytes, reason)                                                                       \
  BOOST_TEST(refusal(header, data_bytes) == std::string("w.safetensors: ") + (reason))

BOOST_AUTO_TEST_SUITE(safetensors)

BOOST_AUTO_TEST_CASE(lists_tensors_with_type_shape_and_bytes) {
  const auto image = test::safetensors_image()
                         .add<std::uint8_t>("odd", "F8_E4M3", {3}, {1, 2, 3})
                         .add<float>("unaligned", "F32", {1, 2}, {1.5f, -2})
                         .add<std::uint16_t>("scalar", "BF16", {}, {0x3f80})
                         .add<std::int64_t>("ids", "I64", {1}, {7})
                         .file();

  const auto parsed = parse(image);

  BOOST_REQUIRE(parsed);
  BOOST_REQUIRE(parsed->size() == 4u);
  const auto& floats = (*parsed)[1];
  BOOST_TEST(floats.name == "unaligned");
  BOOST_TEST((floats.type == kernels::tensor_type::f32));
  BOOST_TEST(floats.shape == (std::vector<std::int64_t>{1, 2}), boost::test_tools::per_element());
  float values[2];
  std::memcpy(values, floats.bytes.data(), floats.bytes.size());
  BOOST_TEST(values[0] == 1.5f);
  BOOST_TEST(values[1] == -2.0f);
  BOOST_TEST((*parsed)[2].bytes.size() == 2u);
  BOOST_TEST((*parsed)[3].dtype == "I64");
  BOOST_TEST(!(*parsed)[3].type.has_value());
}

BOOST_AUTO_TEST_CASE(takes_any_order_metadata_padding_and_empty_tensors) {
  const auto header = object("\"__metadata__\":{\"format\":\"pt\"}," + tensor("b", "U8", "[2]", "[1,3]") + "," +
                             tensor("none", "F32", "[0,5]", "[1,1]") + "," + tensor("a", "U8", "[1]", "[0,1]")) +
                      "     ";

  const auto parsed = parse(safetensors_file(header, "xyz"));

  BOOST_REQUIRE(parsed);
  BOOST_TEST(parsed->size() == 3u);
  BOOST_TEST((*parsed)[1].bytes.empty());
  BOOST_TEST(parse(safetensors_file("{}", "")).value().empty());
}

BOOST_AUTO_TEST_CASE(refuses_files_without_a_whole_header) {
  const auto message = [](std::string_view image) { return parse(image).error().message; };

  BOOST_TEST(message("") == "w.safetensors: header: the file has 0 bytes, at least 8 are needed");
  BOOST_TEST(message("1234567") == "w.safetensors: header: the file has 7 bytes, at least 8 are needed");
  BOOST_TEST(message(safetensors_file("{}", "", 3)) == "w.safetensors: header: claims 3 bytes, at most 2 are possible");
  BOOST_TEST(message(safetensors_file("{}", "", ~0ull - 1)) ==
             "w.safetensors: header: claims 18446744073709551614 bytes, at most 2 are possible");
  const std::string large(limits::safetensors_header_bytes_max + 1, ' ');
  BOOST_TEST(message(safetensors_file(large, "")) ==
             "w.safetensors: header: claims 104857601 bytes, at most 104857600 are possible");
}

BOOST_AUTO_TEST_CASE(refuses_headers_that_are_not_one_padded_json_object) {
  const std::string reason = "header: must be a JSON object, padded with spaces only";
  TEST_REFUSED("", 0, reason);
  TEST_REFUSED("    ", 0, reason);
  TEST_REFUSED("[]", 0, reason);
  TEST_REFUSED(" {}", 0, reason);
  TEST_REFUSED("{}\n", 0, reason);
  TEST_REFUSED("{} {}", 0, "header: text after the JSON object");
  TEST_REFUSED("{\"a\":}", 0, "a: not JSON: syntax error");
  TEST_REFUSED("{\"a\xff\":{}}", 0, "header: invalid UTF-8 at byte 3");
  TEST_REFUSED("{\"a\\ud800\":{}}", 0, "header: not JSON: syntax error");
}

BOOST_AUTO_TEST_CASE(refuses_what_the_grammar_of_a_header_lacks) {
  const auto a = [](std::string_view fields) { return "{\"a\":" + std::string(fields) + "}"; };
  TEST_REFUSED(a("3"), 0, "a: shape and data_offsets must hold whole numbers from 0 to 2^63 - 1");
  TEST_REFUSED(a("\"x\""), 0, "a: has a string where the format has none");
  TEST_REFUSED(a("[]"), 0, "a: has an array where the format has none");
  TEST_REFUSED(a("null"), 0, "a: has a null where the format has none");
  TEST_REFUSED(a("{}"), 0, "a: must have dtype, shape and data_offsets");
  TEST_REFUSED(a("{\"dtype\":\"U8\",\"shape\":[1]}"), 1, "a: must have dtype, shape and data_offsets");
  TEST_REFUSED(a("{\"dtype\":\"U8\",\"dtype\":\"I8\"}"), 0, "a: dtype appears twice");
  TEST_REFUSED(a("{\"type\":\"U8\"}"), 0, "a: has an unknown field type");
  TEST_REFUSED(a("{\"dtype\":true}"), 0, "a: has a boolean where the format has none");
  TEST_REFUSED(a("{\"shape\":{}}"), 0, "a: has an object where the format has none");
  TEST_REFUSED(a("{\"shape\":[[1]]}"), 0, "a: has an array where the format has none");
  TEST_REFUSED("{\"__metadata__\":{\"k\":1}}", 0,
               "__metadata__: shape and data_offsets must hold whole numbers from 0 to 2^63 - 1");
  TEST_REFUSED(object(tensor("a", "U8", "[1]", "[0,1,2]")), 1, "a: data_offsets must be [begin, end]");
}

BOOST_AUTO_TEST_CASE(refuses_numbers_that_are_no_sizes) {
  const std::string reason = "a: shape and data_offsets must hold whole numbers from 0 to 2^63 - 1";
  TEST_REFUSED(object(tensor("a", "U8", "[-1]", "[0,1]")), 1, reason);
  TEST_REFUSED(object(tensor("a", "U8", "[-0]", "[0,0]")), 0, reason);
  TEST_REFUSED(object(tensor("a", "U8", "[1.0]", "[0,1]")), 1, reason);
  TEST_REFUSED(object(tensor("a", "U8", "[1e0]", "[0,1]")), 1, reason);
  TEST_REFUSED(object(tensor("a", "U8", "[1]", "[0,9223372036854775808]")), 1, reason);
  TEST_REFUSED(object(tensor("a", "U8", "[99999999999999999999]", "[0,1]")), 1, reason);
}

BOOST_AUTO_TEST_CASE(refuses_duplicate_names) {
  const auto twice = object(tensor("a", "U8", "[1]", "[0,1]") + "," + tensor("a", "U8", "[1]", "[1,2]"));
  TEST_REFUSED(twice, 2, "a: appears twice in the header");
  const auto escaped = object(tensor("a", "U8", "[0]", "[0,0]") + "," + tensor("\\u0061", "U8", "[0]", "[0,0]"));
  TEST_REFUSED(escaped, 0, "a: appears twice in the header");
}

BOOST_AUTO_TEST_CASE(refuses_offsets_that_do_not_tile_the_data) {
  const auto two = [](std::string_view first, std::string_view second) {
    return object(tensor("a", "U8", "[2]", first) + "," + tensor("b", "U8", "[2]", second));
  };
  TEST_REFUSED(two("[0,2]", "[1,3]"), 3, "b: overlaps the tensor before it");
  TEST_REFUSED(two("[0,2]", "[0,2]"), 2, "b: overlaps the tensor before it");
  TEST_REFUSED(two("[0,2]", "[3,5]"), 5, "b: leaves a hole before it");
  TEST_REFUSED(two("[1,3]", "[3,5]"), 5, "a: leaves a hole before it");
  TEST_REFUSED(two("[0,2]", "[2,4]"), 5, "header: no tensor covers the last 1 bytes");
  TEST_REFUSED(two("[0,2]", "[2,4]"), 3, "b: ends at byte 4 of 3; is the file truncated?");
  TEST_REFUSED(two("[2,0]", "[2,4]"), 4, "a: data_offsets end before they begin");
  const auto empty = object(tensor("a", "U8", "[2]", "[0,2]") + "," + tensor("none", "U8", "[0]", "[1,1]"));
  TEST_REFUSED(empty, 2, "none: overlaps the tensor before it");
}

BOOST_AUTO_TEST_CASE(refuses_bytes_that_do_not_fit_shape_and_dtype) {
  TEST_REFUSED(object(tensor("a", "F32", "[2,3]", "[0,20]")), 20, "a: has 20 bytes, but F32 [2, 3] needs 24");
  TEST_REFUSED(object(tensor("a", "BF16", "[]", "[0,1]")), 1, "a: has 1 bytes, but BF16 [] needs 2");
  TEST_REFUSED(object(tensor("a", "F4", "[2]", "[0,1]")), 1, "a: unknown dtype F4");
  TEST_REFUSED(object(tensor("a", "F32", "[4294967296,4294967296]", "[0,0]")), 0, "a: shape overflows");
  TEST_REFUSED(object(tensor("a", "F64", "[2305843009213693952]", "[0,0]")), 0, "a: shape overflows");
}

BOOST_AUTO_TEST_CASE(limits_names_ranks_and_message_bytes) {
  const std::string name(limits::tensor_name_bytes_max, 'n');
  BOOST_TEST(parse(safetensors_file(object(tensor(name, "U8", "[1]", "[0,1]")), "x")).has_value());
  TEST_REFUSED(object(tensor(name + "n", "U8", "[1]", "[0,1]")), 1, "header: not JSON: key too large");
  TEST_REFUSED(object(tensor("a", "U8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[0,1]")), 1,
               "a: not JSON: array too large");
  TEST_REFUSED(object(tensor("a\\n\\u001b[2J", "?", "[1]", "[0,1]")), 1, "a??[2J: unknown dtype ?");
}

BOOST_AUTO_TEST_SUITE_END()
