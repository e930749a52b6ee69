#include "actors/gateways/openai/plan.hpp"
#include "tests/support/tiny_text.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::openai;

namespace {

const text_side& text() {
  static const auto side = test::tiny_text();
  return side;
}

reply<std::vector<choice_plan>> plan_of(endpoint where, std::string_view body, const text_side& side = text(),
                                        std::uint64_t number = 0) {
  return plan(parse_request(where, test::json_object(body)).value(), side, number);
}

const std::string chat = R"("messages":[{"role":"user","content":"hi"}])";

} // namespace

BOOST_AUTO_TEST_SUITE(openai_plan)

BOOST_AUTO_TEST_CASE(a_conversation_becomes_the_templates_tokens) {
  const auto choice = plan_of(endpoint::chat_completions, "{" + chat + "}").value().front();
  const auto& prompt = choice.generation.prompt;
  BOOST_TEST(prompt.front() == test::tiny_bos);
  BOOST_TEST(text().tokenizer.decode(prompt) == "<｜User｜>hi<｜Assistant｜><think>\n");
  BOOST_TEST(choice.generation.sampling.max_tokens == text().max_model_len - static_cast<int>(prompt.size()));
}

BOOST_AUTO_TEST_CASE(markers_in_a_message_stay_text_and_in_a_prompt_become_tokens) {
  const auto in_chat =
      plan_of(endpoint::chat_completions, R"({"messages":[{"role":"user","content":"</think>"}]})").value();
  const auto& tokens = in_chat.front().generation.prompt;
  BOOST_TEST(std::count(tokens.begin(), tokens.end(), test::tiny_think_end) == 0);

  const auto raw = plan_of(endpoint::completions, R"({"prompt":"</think>"})").value();
  BOOST_TEST((raw.front().generation.prompt == std::vector<token_id>{test::tiny_bos, test::tiny_think_end}));
}

BOOST_AUTO_TEST_CASE(a_prompt_gets_one_bos_unless_the_client_says_no) {
  const auto first = [](std::string_view body) {
    return plan_of(endpoint::completions, body).value().front().generation.prompt;
  };
  BOOST_TEST(first(R"({"prompt":"ab"})").size() == 3);
  BOOST_TEST(first(R"({"prompt":"<｜begin▁of▁sentence｜>ab"})").size() == 3);
  BOOST_TEST(first(R"({"prompt":"ab","add_special_tokens":false})").size() == 2);
  BOOST_TEST((first(R"({"prompt":[7]})") == std::vector<token_id>{7}));
}

BOOST_AUTO_TEST_CASE(what_the_client_does_not_say_comes_from_the_checkpoint) {
  auto side = test::tiny_text();
  side.defaults.temperature = 0.6f;
  side.defaults.top_p = 0.95f;
  const auto inherited =
      plan_of(endpoint::chat_completions, "{" + chat + "}", side).value().front().generation.sampling;
  BOOST_TEST(inherited.temperature == 0.6f);
  BOOST_TEST(inherited.top_p == 0.95f);
  const auto asked = plan_of(endpoint::chat_completions, "{" + chat + R"(,"temperature":0,"top_k":-1})", side).value();
  BOOST_TEST(asked.front().generation.sampling.temperature == 0);
  BOOST_TEST(asked.front().generation.sampling.top_k == 0);
}

BOOST_AUTO_TEST_CASE(a_request_without_a_seed_gets_one_from_the_server_and_its_number) {
  auto side = test::tiny_text();
  const auto seed = [&](std::uint64_t server, std::uint64_t number) {
    side.seed = server;
    return plan_of(endpoint::chat_completions, "{" + chat + "}", side, number).value().front().generation.sampling.seed;
  };
  BOOST_TEST(seed(1, 1) == seed(1, 1));
  BOOST_TEST(seed(1, 1) != seed(1, 2));
  BOOST_TEST(seed(1, 1) != seed(2, 1));
}

BOOST_AUTO_TEST_CASE(choices_of_one_prompt_differ_by_seed_only) {
  const auto choices = plan_of(endpoint::completions, R"({"prompt":["a","b"],"n":2,"seed":5})").value();
  BOOST_TEST(choices.size() == 4);
  BOOST_TEST(choices[0].generation.sampling.seed == 5);
  BOOST_TEST(choices[1].generation.sampling.seed == 6);
  BOOST_TEST(choices[2].generation.sampling.seed == 5);
  BOOST_TEST((choices[0].generation.prompt == choices[1].generation.prompt));
  BOOST_TEST((choices[1].generation.prompt != choices[2].generation.prompt));
  BOOST_TEST(choices[3].index == 3);
}

BOOST_AUTO_TEST_CASE(another_model_is_not_found) {
  const auto refused = plan_of(endpoint::chat_completions, "{" + chat + R"(,"model":"gpt-4"})");
  BOOST_TEST(refused.error().status == 404);
  BOOST_TEST(refused.error().code == "model_not_found");
  BOOST_TEST(plan_of(endpoint::chat_completions, "{" + chat + R"(,"model":"tiny"})").has_value());
}

BOOST_AUTO_TEST_CASE(an_answer_gets_what_the_context_has_room_for) {
  const auto max_tokens = [](std::string_view body) {
    return plan_of(endpoint::completions, body).value().front().generation.sampling.max_tokens;
  };
  BOOST_TEST(max_tokens(R"({"prompt":"a"})") == 16); // OpenAI's default
  BOOST_TEST(max_tokens(R"({"prompt":"a","max_tokens":126})") == 126);
  BOOST_TEST(max_tokens(R"({"prompt":"a","max_tokens":127})") == 126); // prompt and BOS take two of 128
}

BOOST_AUTO_TEST_CASE(a_prompt_that_does_not_fit_is_refused) {
  const auto refused = [](std::size_t size) {
    return plan_of(endpoint::completions, R"({"prompt":")" + std::string(size, 'x') + R"("})");
  };
  BOOST_TEST(refused(126).has_value());
  BOOST_TEST(refused(127).error().code == "context_length_exceeded"); // seen after encoding
  BOOST_TEST(refused(127).error().param == "prompt");
  BOOST_TEST(refused(100'000).error().code == "context_length_exceeded"); // seen before
  BOOST_TEST(plan_of(endpoint::completions, R"({"prompt":[320]})").error().param == "prompt");
}

BOOST_AUTO_TEST_CASE(echo_gives_back_what_was_written) {
  const auto choice =
      plan_of(endpoint::completions, R"({"prompt":"<think>hé","echo":true,"logprobs":1})").value().front();
  BOOST_TEST(choice.echo == "<think>hé");
  BOOST_TEST(choice.generation.sampling.prompt_logprobs);
  BOOST_TEST(plan_of(endpoint::completions, R"({"prompt":[104,105],"echo":true})").value().front().echo == "hi");
}

BOOST_AUTO_TEST_SUITE_END()
