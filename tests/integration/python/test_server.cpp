// The HTTP gateway over a fake cluster, as a process for tests in other languages. To a question with the word "wait"
// it begins an answer that never ends. Ends with its standard input.
#include "tests/support/http_rig.hpp"

#include <cstdio>
#include <iostream>
#include <string>

int main() {
  using namespace troupe;
  const auto text = test::tiny_text_side();
  test::fake_generation generation([&](const generation_request& request) {
    auto answer = test::thoughtful(text.tokenizer);
    if (text.tokenizer.decode(request.prompt).find("wait") != std::string::npos) answer.back() = -1;
    return answer;
  });
  completion_service completions(generation, text);
  http_gateway_options options;
  options.port = 0;
  options.version = "test";
  const auto gateway = http_gateway::open(options, completions).value();
  std::fprintf(stderr, "listening on http://127.0.0.1:%d\n", gateway->port());
  for (std::string line; std::getline(std::cin, line);) {
  }
}
