#include "actors/gateways/openai/completion.hpp"
#include "tests/support/tiny_text.hpp"

#include <boost/json/parse.hpp>
#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::openai;
namespace json = boost::json;

namespace {

const text_side& text() {
  static const auto side = test::tiny_text();
  return side;
}

/// A request's answer, fed by the test.
struct answer_under_test {
  answer_under_test(endpoint where, std::string_view body)
      : answer_under_test(parse_request(where, test::json_object(body)).value()) {}
  explicit answer_under_test(request r) : answer(r, plan(r, text(), 0).value(), text(), {"id-1", 17, "tiny"}) {}

  void push(std::size_t choice, token_id token, finish_reason finish = finish_reason::none) {
    token_event event;
    event.index = next_index++;
    event.token = token;
    event.logprob = -0.25f;
    event.top = {{token, -0.25f}, {'?', -2.0f}};
    event.finish = finish;
    for (auto& chunk : answer.push(choice, event)) chunks.push_back(json::parse(chunk));
  }
  void push_text(std::size_t choice, std::string_view bytes, finish_reason finish = finish_reason::none) {
    for (std::size_t i = 0; i < bytes.size(); ++i)
      push(choice, static_cast<unsigned char>(bytes[i]), i + 1 == bytes.size() ? finish : finish_reason::none);
  }
  json::value body() const { return json::parse(answer.body()); }
  /// A field of all deltas put together.
  std::string streamed(std::string_view field) const {
    std::string out;
    for (const auto& chunk : chunks)
      if (const auto* piece = chunk.at("choices").at(0).at("delta").as_object().if_contains(field))
        out += piece->as_string();
    return out;
  }

  completion answer;
  std::vector<json::value> chunks;
  int next_index = 0;
};

std::string chat(std::string_view more) {
  return R"({"messages":[{"role":"user","content":"hi"}])" + std::string(more) + "}";
}

} // namespace

BOOST_AUTO_TEST_SUITE(openai_completion)

BOOST_AUTO_TEST_CASE(a_whole_answer_splits_reasoning_from_content) {
  answer_under_test t(endpoint::chat_completions, chat(""));
  t.push_text(0, "so\n");
  t.push(0, test::tiny_think_end);
  t.push_text(0, "\n\n4");
  t.push(0, test::tiny_eos, finish_reason::stop);

  const auto body = t.body();
  const auto& choice = body.at("choices").at(0);
  BOOST_TEST(choice.at("message").at("reasoning_content") == "so\n");
  BOOST_TEST(choice.at("message").at("reasoning") == "so\n");
  BOOST_TEST(choice.at("message").at("content") == "4");
  BOOST_TEST(choice.at("message").at("role") == "assistant");
  BOOST_TEST(choice.at("finish_reason") == "stop");
  BOOST_TEST(choice.at("logprobs").is_null());
  BOOST_TEST(body.at("object") == "chat.completion");
  BOOST_TEST(body.at("created") == 17);
  const auto& usage = body.at("usage");
  BOOST_TEST(usage.at("completion_tokens") == 8);
  BOOST_TEST(usage.at("completion_tokens_details").at("reasoning_tokens") == 3);
  BOOST_TEST(usage.at("total_tokens").as_int64() == usage.at("prompt_tokens").as_int64() + 8);
}

BOOST_AUTO_TEST_CASE(a_stream_begins_with_the_role_and_ends_with_one_finish_reason) {
  answer_under_test t(endpoint::chat_completions, chat(R"(,"stream":true)"));
  t.push_text(0, "ab");
  t.push(0, test::tiny_think_end);
  t.push_text(0, "cd", finish_reason::length);

  BOOST_TEST(t.chunks.front().at("choices").at(0).at("delta").at("role") == "assistant");
  BOOST_TEST(t.streamed("role") == "assistant");
  BOOST_TEST(t.streamed("reasoning_content") == "ab");
  BOOST_TEST(t.streamed("reasoning") == "ab");
  BOOST_TEST(t.streamed("content") == "cd");
  for (std::size_t i = 0; i + 1 < t.chunks.size(); ++i)
    BOOST_TEST(t.chunks[i].at("choices").at(0).at("finish_reason").is_null());
  BOOST_TEST(t.chunks.back().at("choices").at(0).at("finish_reason") == "length");
  BOOST_TEST(t.chunks.back().at("object") == "chat.completion.chunk");
  BOOST_TEST(!t.chunks.back().as_object().contains("usage"));
  BOOST_TEST(t.answer.last_chunks().empty());
}

BOOST_AUTO_TEST_CASE(no_chunk_carries_reasoning_and_content) {
  answer_under_test t(endpoint::chat_completions, chat(R"(,"stream":true,"stop":["zzz"])"));
  t.push_text(0, "azz"); // held back: may become the stop string
  t.push(0, test::tiny_think_end);
  t.push_text(0, "bzz", finish_reason::stop);

  BOOST_TEST(t.streamed("reasoning_content") == "azz");
  BOOST_TEST(t.streamed("content") == "bzz");
  for (const auto& chunk : t.chunks) {
    const auto& delta = chunk.at("choices").at(0).at("delta").as_object();
    const bool content = delta.contains("content") && !delta.at("content").as_string().empty();
    BOOST_TEST(!(content && delta.contains("reasoning_content")));
  }
}

BOOST_AUTO_TEST_CASE(usage_comes_in_a_chunk_of_its_own_when_asked_for) {
  answer_under_test t(endpoint::chat_completions, chat(R"(,"stream":true,"stream_options":{"include_usage":true})"));
  t.push(0, 'a', finish_reason::length);

  for (const auto& chunk : t.chunks) BOOST_TEST(chunk.at("usage").is_null());
  const auto last = json::parse(t.answer.last_chunks().at(0));
  BOOST_TEST(last.at("choices").as_array().empty());
  BOOST_TEST(last.at("usage").at("completion_tokens") == 1);
}

BOOST_AUTO_TEST_CASE(a_stop_string_ends_the_answer_before_the_router_does) {
  answer_under_test t(endpoint::completions, R"({"prompt":"x","stop":["END"]})");
  t.push_text(0, "ok EN");
  BOOST_TEST(!t.answer.done());
  t.push(0, 'D');
  BOOST_TEST(t.answer.done());
  BOOST_TEST(t.answer.choice(0).ended_by_stop_string());
  t.push(0, '!'); // a step that was under way

  const auto body = t.body();
  const auto& choice = body.at("choices").at(0);
  BOOST_TEST(choice.at("text") == "ok ");
  BOOST_TEST(choice.at("finish_reason") == "stop");
  BOOST_TEST(choice.at("stop_reason") == "END");
  BOOST_TEST(body.at("usage").at("completion_tokens") == 6);
}

BOOST_AUTO_TEST_CASE(a_stop_token_is_the_stop_reason) {
  answer_under_test t(endpoint::completions, R"({"prompt":"x","stop_token_ids":[264]})");
  t.push(0, 'a');
  t.push(0, test::tiny_eos, finish_reason::stop);
  const auto body = t.body();
  BOOST_TEST(body.at("choices").at(0).at("stop_reason") == test::tiny_eos);
  BOOST_TEST(body.at("choices").at(0).at("text") == "a");
}

BOOST_AUTO_TEST_CASE(choices_grow_independently_and_prompts_count_once) {
  answer_under_test t(endpoint::completions, R"({"prompt":["a","bc"],"n":2})");
  t.push(3, 'w', finish_reason::length);
  t.push(0, 'x', finish_reason::length);
  t.push(2, 'z', finish_reason::length);
  BOOST_TEST(!t.answer.done());
  t.push_text(1, "yy", finish_reason::length);

  const auto body = t.body();
  BOOST_TEST(body.at("choices").at(1).at("text") == "yy");
  BOOST_TEST(body.at("choices").at(3).at("index") == 3);
  BOOST_TEST(body.at("usage").at("prompt_tokens") == 2 + 3); // with BOS
  BOOST_TEST(body.at("usage").at("completion_tokens") == 5);
}

BOOST_AUTO_TEST_CASE(chat_logprobs_name_tokens_their_bytes_and_alternatives) {
  answer_under_test t(endpoint::chat_completions, chat(R"(,"logprobs":true,"top_logprobs":1)"));
  t.push(0, test::tiny_think_end);
  t.push(0, 0xC3); // half of é
  t.push(0, 0xA9, finish_reason::length);

  const auto body = t.body();
  const auto& content = body.at("choices").at(0).at("logprobs").at("content").as_array();
  BOOST_TEST(content.size() == 3);
  BOOST_TEST(content[0].at("token") == "</think>");
  BOOST_TEST(content[1].at("bytes") == json::array{0xC3});
  BOOST_TEST(content[1].at("logprob") == -0.25);
  BOOST_TEST(content[1].at("top_logprobs").as_array().size() == 1);
  BOOST_TEST(body.at("choices").at(0).at("message").at("content") == "é");
}

BOOST_AUTO_TEST_CASE(echo_scores_the_prompt_and_counts_offsets_in_code_points) {
  answer_under_test t(endpoint::completions,
                      R"({"prompt":"h\u00e9","add_special_tokens":false,"echo":true,"logprobs":1})");
  const auto prompt = t.answer.choice(0).plan().generation.prompt;
  for (std::size_t i = 1; i < prompt.size(); ++i) {
    token_event event;
    event.index = static_cast<int>(i) - static_cast<int>(prompt.size());
    event.token = prompt[i];
    event.logprob = -1;
    BOOST_TEST(t.answer.push(0, event).empty());
  }
  t.push_text(0, "lo", finish_reason::length);

  const auto body = t.body();
  BOOST_TEST(body.at("choices").at(0).at("text") == "hélo");
  const auto& logprobs = body.at("choices").at(0).at("logprobs");
  BOOST_TEST(logprobs.at("tokens").as_array().size() == prompt.size() + 2);
  BOOST_TEST(logprobs.at("token_logprobs").at(0).is_null());
  BOOST_TEST(logprobs.at("token_logprobs").at(1) == -1.0);
  BOOST_TEST(logprobs.at("text_offset").as_array().back() == 3);
  BOOST_TEST(logprobs.at("top_logprobs").as_array().back().at("o") == -0.25);
}

BOOST_AUTO_TEST_CASE(scoring_only_gives_the_prompt_back) {
  answer_under_test t(endpoint::completions, R"({"prompt":[104,105],"echo":true,"max_tokens":0,"logprobs":0})");
  token_event event;
  event.index = -1;
  event.token = 105;
  event.logprob = -3;
  t.answer.push(0, event);
  t.push(0, 'x', finish_reason::length);

  const auto body = t.body();
  BOOST_TEST(body.at("choices").at(0).at("text") == "hi");
  BOOST_TEST(body.at("choices").at(0).at("logprobs").at("tokens").as_array().size() == 2);
  BOOST_TEST(body.at("usage").at("completion_tokens") == 0);
}

BOOST_AUTO_TEST_CASE(an_answer_the_cluster_gave_up_is_failed_and_sends_nothing_more) {
  answer_under_test t(endpoint::chat_completions, chat(R"(,"stream":true)"));
  t.push(0, 'a');
  const auto before = t.chunks.size();
  t.push(0, -1, finish_reason::failed);
  BOOST_TEST(t.answer.failed());
  BOOST_TEST(t.chunks.size() == before);
}

BOOST_AUTO_TEST_SUITE_END()
