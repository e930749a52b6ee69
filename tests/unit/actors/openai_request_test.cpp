#include "actors/gateways/openai/fields.hpp"
#include "actors/gateways/openai/request.hpp"
#include "runtime/core/limits.hpp"
#include "tests/support/tiny_text.hpp"

#include <boost/json/serialize.hpp>
#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::openai;

namespace {

reply<request> parse_chat(std::string_view fields) {
  auto body = test::json_object(R"({"messages":[{"role":"user","content":"hi"}]})");
  for (auto& [key, value] : test::json_object(fields)) body[key] = value;
  return parse_request(endpoint::chat_completions, body);
}

reply<request> parse_text(std::string_view body) {
  return parse_request(endpoint::completions, test::json_object(body));
}

/// The field that a refused chat request is blamed for.
std::string blamed(std::string_view fields) {
  const auto r = parse_chat(fields);
  return r ? "accepted" : r.error().param;
}

} // namespace

BOOST_AUTO_TEST_SUITE(openai_request)

BOOST_AUTO_TEST_CASE(absent_and_null_fields_have_the_same_defaults) {
  const auto r =
      parse_chat(R"({"temperature":null,"stop":null,"n":null,"stream":null,"seed":null,"tools":null})").value();
  BOOST_TEST(!r.sampling.temperature.has_value());
  BOOST_TEST(!r.sampling.seed.has_value());
  BOOST_TEST(!r.sampling.max_tokens.has_value());
  BOOST_TEST(r.n == 1);
  BOOST_TEST(r.stop.empty());
  BOOST_TEST(!r.stream);
  BOOST_TEST(r.logprobs == -1);
}

BOOST_AUTO_TEST_CASE(reads_every_sampling_field) {
  const auto r = parse_chat(R"({"temperature":0.6,"top_p":0.95,"top_k":-1,"min_p":0.1,"seed":-2,"n":8,"max_tokens":7,
      "presence_penalty":-2,"frequency_penalty":2,"repetition_penalty":1.1,"min_tokens":3,"ignore_eos":true,
      "stop_token_ids":[5,6],"priority":-3})")
                     .value();
  BOOST_TEST(*r.sampling.temperature == 0.6);
  BOOST_TEST(*r.sampling.top_k == -1);
  BOOST_TEST(*r.sampling.seed == ~std::uint64_t{1});
  BOOST_TEST(*r.sampling.max_tokens == 7);
  BOOST_TEST(r.sampling.min_tokens == 3);
  BOOST_TEST(r.sampling.ignore_eos);
  BOOST_TEST((r.sampling.stop_token_ids == std::vector<token_id>{5, 6}));
  BOOST_TEST(r.n == 8);
  BOOST_TEST(r.priority == -3);
}

BOOST_AUTO_TEST_CASE(the_newer_name_of_max_tokens_wins) {
  BOOST_TEST(*parse_chat(R"({"max_tokens":5,"max_completion_tokens":6})").value().sampling.max_tokens == 6);
}

BOOST_AUTO_TEST_CASE(whole_numbers_may_be_spelt_as_floats) {
  BOOST_TEST(*parse_chat(R"({"max_tokens":5.0})").value().sampling.max_tokens == 5);
  BOOST_TEST(blamed(R"({"max_tokens":5.5})") == "max_tokens");
}

BOOST_AUTO_TEST_CASE(names_the_field_that_is_wrong) {
  BOOST_TEST(blamed(R"({"temperature":-0.1})") == "temperature");
  BOOST_TEST(blamed(R"({"temperature":"warm"})") == "temperature");
  BOOST_TEST(blamed(R"({"temperature":1e999})") == "temperature");
  BOOST_TEST(blamed(R"({"top_p":1.5})") == "top_p");
  BOOST_TEST(blamed(R"({"n":0})") == "n");
  BOOST_TEST(blamed(R"({"n":9})") == "n");
  BOOST_TEST(blamed(R"({"max_tokens":-1})") == "max_tokens");
  BOOST_TEST(blamed(R"({"max_tokens":32769})") == "max_tokens");
  BOOST_TEST(blamed(R"({"max_tokens":18446744073709551615})") == "max_tokens");
  BOOST_TEST(blamed(R"({"max_tokens":0})") == "max_tokens");
  BOOST_TEST(blamed(R"({"max_tokens":2,"min_tokens":3})") == "min_tokens");
  BOOST_TEST(blamed(R"({"stream":"yes"})") == "stream");
  BOOST_TEST(blamed(R"({"stream_options":{"include_usage":true}})") == "stream_options");
  BOOST_TEST(blamed(R"({"top_logprobs":3})") == "top_logprobs");
  BOOST_TEST(blamed(R"({"logprobs":true,"top_logprobs":21})") == "top_logprobs");
  BOOST_TEST(blamed(R"({"best_of":2})") == "best_of");
  BOOST_TEST(blamed(R"({"stop_token_ids":[-1]})") == "stop_token_ids");
}

BOOST_AUTO_TEST_CASE(stop_strings_are_few_short_and_not_empty) {
  BOOST_TEST(parse_chat(R"({"stop":"END"})").value().stop.size() == 1);
  BOOST_TEST(blamed(R"({"stop":[""]})") == "stop");
  BOOST_TEST(blamed(R"({"stop":[1]})") == "stop");
  boost::json::array many(limits::stop_strings_max + 1, "x");
  BOOST_TEST(blamed(boost::json::serialize(boost::json::object{{"stop", many}})) == "stop");
  const std::string longest(limits::stop_string_bytes_max, 'x');
  BOOST_TEST(blamed(R"({"stop":")" + longest + R"("})") == "accepted");
  BOOST_TEST(blamed(R"({"stop":")" + longest + R"(x"})") == "stop");
}

BOOST_AUTO_TEST_CASE(what_would_change_the_answer_is_refused_and_the_rest_ignored) {
  BOOST_TEST(blamed(R"({"tools":[{"type":"function"}]})") == "tools");
  BOOST_TEST(blamed(R"({"response_format":{"type":"json_object"}})") == "response_format");
  BOOST_TEST(blamed(R"({"logit_bias":{"5":1}})") == "logit_bias");
  BOOST_TEST(blamed(R"({"guided_json":{"type":"object"}})") == "guided_json");
  BOOST_TEST(blamed(R"({"tools":[],"logit_bias":{},"response_format":{"type":"text"},"user":"u","store":true,
                        "metadata":{"a":"b"},"parallel_tool_calls":true})") == "accepted");
}

BOOST_AUTO_TEST_CASE(contents_are_strings_or_text_parts) {
  const auto r = parse_chat(R"({"messages":[{"role":"developer","content":"be kind"},
      {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
      {"role":"tool","content":"4","tool_call_id":"1"}]})")
                     .value();
  BOOST_TEST(r.messages[0].role == "system");
  BOOST_TEST(r.messages[1].content == "ab");
  BOOST_TEST(r.messages[2].tool_calls.front().name == "f");
  BOOST_TEST(r.messages[3].role == "tool");
}

BOOST_AUTO_TEST_CASE(bad_messages_are_named_by_their_place) {
  BOOST_TEST(blamed(R"({"messages":[]})") == "messages");
  BOOST_TEST(blamed(R"({"messages":"hi"})") == "messages");
  BOOST_TEST(blamed(R"({"messages":[{"role":"user","content":"a"},{"role":"owner","content":"b"}]})") ==
             "messages[1].role");
  BOOST_TEST(blamed(R"({"messages":[{"role":"user"}]})") == "messages[0].content");
  BOOST_TEST(blamed(R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})") == "messages[0].content");
}

BOOST_AUTO_TEST_CASE(a_prompt_has_four_forms) {
  BOOST_TEST(parse_text(R"({"prompt":"a"})").value().prompts.size() == 1);
  BOOST_TEST(parse_text(R"({"prompt":["a","b"]})").value().prompts.size() == 2);
  const auto tokens = parse_text(R"({"prompt":[1,2,3]})").value().prompts;
  BOOST_TEST((std::get<1>(tokens.front()) == std::vector<token_id>{1, 2, 3}));
  BOOST_TEST(parse_text(R"({"prompt":[[1],[2,3]],"n":2})").value().choice_count() == 4);
}

BOOST_AUTO_TEST_CASE(other_prompts_are_refused) {
  for (const auto* body :
       {R"({})", R"({"prompt":[]})", R"({"prompt":5})", R"({"prompt":[1,"a"]})", R"({"prompt":[1.5]})",
        R"({"prompt":[-1]})", R"({"prompt":[4294967296]})", R"({"prompt":[["a"]]})"})
    BOOST_TEST((!parse_text(body) && parse_text(body).error().param == "prompt"), body);
}

BOOST_AUTO_TEST_CASE(a_body_is_one_json_object) {
  for (const auto* body : {"", "[]", "{", "{} x", "\"\xff\"", "{\"a\":\"\xc0\"}", R"({"a":"\ud800"})"})
    BOOST_TEST((!parse_object(body) && parse_object(body).error().code == "invalid_json"), body);
  BOOST_TEST(!parse_object(std::string(200, '[')).has_value());
  const auto twice = parse_object(R"({"n":1,"messages":[],"n":8})");
  BOOST_TEST_REQUIRE(!twice.has_value());
  BOOST_TEST(twice.error().message == "the body is not valid JSON: key \"n\" appears twice");
  boost::json::object keys;
  for (std::size_t i = 0; i < limits::http_json_keys_max; ++i) keys[std::to_string(i)] = 0;
  BOOST_TEST(parse_object(boost::json::serialize(keys)).has_value());
  keys["one more"] = 0;
  BOOST_TEST(!parse_object(boost::json::serialize(keys)).has_value());
}

BOOST_AUTO_TEST_SUITE_END()
