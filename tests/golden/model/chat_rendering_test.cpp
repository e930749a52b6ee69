// Prompts against the published Jinja templates: chat.json, made by make_chat.py (seed 12, jinja2 3.1.6, the
// templates of DeepSeek-V3, R1 and R1-0528).
#include "runtime/model/chat_template.hpp"
#include "tests/support/golden_file.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe::model;
namespace json = boost::json;

namespace {

std::string text_of(const json::value& object, const char* field) { return std::string(object.at(field).as_string()); }

chat_message message_of(const json::value& value) {
  chat_message message{text_of(value, "role"), text_of(value, "content"), {}};
  if (const auto* calls = value.as_object().if_contains("tool_calls"))
    for (const auto& call : calls->as_array())
      message.tool_calls.push_back({text_of(call, "type"), text_of(call, "name"), text_of(call, "arguments")});
  return message;
}

} // namespace

BOOST_AUTO_TEST_SUITE(chat_rendering)

BOOST_AUTO_TEST_CASE(random_conversations_render_as_the_published_templates_do) {
  const auto cases = troupe::test::golden_json("model/chat.json");
  for (const auto& item : cases.as_array()) {
    std::vector<chat_message> messages;
    for (const auto& message : item.at("messages").as_array()) messages.push_back(message_of(message));
    const auto format = chat_format_named(text_of(item, "format")).value();

    const auto prompt = render_chat(format, messages, item.at("add_generation_prompt").as_bool());

    BOOST_TEST(prompt == text_of(item, "prompt"), json::serialize(item));
  }
}

BOOST_AUTO_TEST_SUITE_END()
