// Any bytes are either refused with a status and one line, or make a request whose answer is valid JSON whatever tokens
// the model gives.
#include "actors/gateways/openai/batch.hpp"
#include "actors/gateways/openai/completion.hpp"
#include "actors/gateways/openai/fields.hpp"
#include "runtime/core/invariant.hpp"
#include "runtime/core/limits.hpp"
#include "tests/support/tiny_text.hpp"

#include <boost/json/parse.hpp>

using namespace troupe;
using namespace troupe::openai;

namespace {

void check_refusal(const api_error& e) {
  invariant(e.status >= 400 && e.status < 500, "a refusal blames the client");
  invariant(!e.message.empty() && !to_json(e).empty(), "a refusal says why");
}

token_event event_of(std::uint8_t byte, int index, int vocab_size) {
  token_event out;
  out.index = index;
  out.token = byte * 7 % vocab_size; // reaches the markers too
  out.logprob = -1;
  out.top = {{out.token, -1.0f}};
  return out;
}

/// Feeds `bytes` as tokens to every choice, then ends it.
void answer(request r, std::vector<choice_plan> plans, const text_side& text, std::string_view bytes) {
  const bool streams = r.stream;
  completion c(std::move(r), std::move(plans), text, {"id", 1, "tiny"});
  for (std::size_t i = 0; i < c.size(); ++i) {
    int index = 0;
    for (const char byte : bytes.substr(0, 64))
      for (const auto& chunk : c.push(i, event_of(static_cast<std::uint8_t>(byte), index++, text.vocab_size)))
        boost::json::parse(chunk);
    token_event end;
    end.index = index;
    end.finish = finish_reason::length;
    c.push(i, end);
  }
  invariant(c.done() && !c.failed(), "every choice has ended");
  if (!streams) boost::json::parse(c.body());
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto text = test::tiny_text();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto object = parse_object(bytes);
  if (!object) return check_refusal(object.error()), 0;
  const auto line = parse_batch_line(bytes);
  if (!line) check_refusal(line.error());
  for (const auto where : {endpoint::chat_completions, endpoint::completions}) {
    auto r = parse_request(where, line ? line->body : *object);
    if (!r) {
      check_refusal(r.error());
      continue;
    }
    invariant(r->n >= 1 && r->n <= limits::choices_max, "n is bounded");
    auto plans = plan(*r, text, 0);
    if (!plans) {
      check_refusal(plans.error());
      continue;
    }
    answer(*std::move(r), *std::move(plans), text, bytes);
  }
  return 0;
}
