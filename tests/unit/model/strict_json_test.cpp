// What two JSON readers may understand differently is refused with its reason; everything else is read.
#include "runtime/core/limits.hpp"
#include "runtime/model/strict_json.hpp"

#include <boost/json.hpp>
#include <boost/test/unit_test.hpp>

#include <string>

using namespace troupe;
using namespace troupe::model;
namespace json = boost::json;

namespace {

std::string refusal(std::string_view text, std::size_t keys_max = 8) {
  const auto parsed = parse_strict_json(text, keys_max);
  BOOST_TEST_REQUIRE(!parsed.has_value(), text);
  BOOST_TEST((parsed.error().code == errc::bad_input));
  return parsed.error().message;
}

std::string object_of(std::size_t keys) {
  json::object out;
  for (std::size_t i = 0; i < keys; ++i) out[std::to_string(i)] = i;
  return json::serialize(out);
}

std::string nested(int levels) { return std::string(levels, '[') + std::string(levels, ']'); }

} // namespace

BOOST_AUTO_TEST_SUITE(strict_json)

BOOST_AUTO_TEST_CASE(what_is_json_is_read_as_boost_reads_it) {
  for (const std::string text :
       {R"({"a":[1,-2,3.5,true,false,null,"x"],"b":{"a":{}},"":""})", R"([{"a":1},{"a":2},[{"a":3}]])", "7", R"("")",
        R"({"\u0061\ud83d\ude00":18446744073709551615,"é":1e300})", " {\n\t\"a\" : 1 }\r\n"}) {
    const auto parsed = parse_strict_json(text, 8);
    BOOST_TEST_REQUIRE(parsed.has_value(), text);
    BOOST_TEST(*parsed == json::parse(text));
  }
}

BOOST_AUTO_TEST_CASE(a_key_appears_once_in_an_object_however_it_is_spelled) {
  BOOST_TEST(refusal(R"({"a":1,"b":2,"a":3})") == "key \"a\" appears twice");
  BOOST_TEST(refusal(R"({"a":1,"\u0061":1})") == "key \"a\" appears twice");
  BOOST_TEST(refusal(R"([{"x":{"":1,"":2}}])") == "key \"\" appears twice");
  const std::string key(100, 'k');
  BOOST_TEST(refusal("{\"" + key + "\":1,\"" + key + "\":1}") == "a key appears twice");
}

BOOST_AUTO_TEST_CASE(objects_and_depth_are_bounded) {
  BOOST_TEST(parse_strict_json(object_of(8), 8).has_value());
  BOOST_TEST(refusal(object_of(9)) == "an object has more than 8 keys");
  BOOST_TEST(parse_strict_json(nested(limits::json_depth_max), 8).has_value());
  BOOST_TEST(refusal(nested(limits::json_depth_max + 1)) == "too deep");
}

BOOST_AUTO_TEST_CASE(numbers_are_finite_and_text_is_unicode) {
  BOOST_TEST(refusal("1e999") == "a number is out of range");
  BOOST_TEST(refusal("[-1e999]") == "a number is out of range");
  for (const char* text : {"NaN", "Infinity", "01", "+1", ".5", "1.", "0x1", "1e99999999999999999999"})
    BOOST_TEST(!refusal(text).empty());
  for (const char* text :
       {R"("\ud800")", R"("\udc00")", R"("\ud800x")", "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\""})
    BOOST_TEST(!refusal(text).empty());
}

BOOST_AUTO_TEST_CASE(nothing_but_one_document_is_allowed) {
  for (const char* text :
       {"", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "'a'", "[1] 2", "{}{}", "// x\n1", "\"\x01\"", "1//x"})
    BOOST_TEST(!refusal(text).empty());
  using namespace std::string_literals;
  BOOST_TEST(!refusal("1\0"s).empty());
  BOOST_TEST(!refusal("\xef\xbb\xbf{}").empty());
}

BOOST_AUTO_TEST_SUITE_END()
