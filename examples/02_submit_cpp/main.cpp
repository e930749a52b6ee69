// Runs questions as one job through actor RPC and prints the answers as they come. The job lives in the server: this
// program could leave after submit() and ask for the results later.
//
//   build/dev/bin/02_submit_cpp http://127.0.0.1:8000 "What is 12 * 12?" "What is 4821 + 3979?"
#include "actors/gateways/job_client.hpp"
#include "launch/verbs/http_client.hpp"

#include <boost/json.hpp>

#include <chrono>
#include <iostream>
#include <thread>

using namespace troupe;
namespace json = boost::json;

namespace {

std::string text(const json::value& value) { return std::string(value.as_string()); }

/// One line of OpenAI's batch format; the question is also its name.
std::string batch_line(const std::string& question) {
  const json::object message{{"role", "user"}, {"content", question}};
  return json::serialize(json::object{{"custom_id", question},
                                      {"method", "POST"},
                                      {"url", "/v1/chat/completions"},
                                      {"body", {{"messages", json::array{message}}, {"temperature", 0}}}});
}

void print(const json::value& answer) {
  std::cout << text(answer.at("custom_id")) << "\n  ";
  const auto& body = answer.at("response").at("body");
  if (answer.at("response").at("status_code") == 200)
    std::cout << text(body.at("choices").at(0).at("message").at("content")) << "\n";
  else
    std::cout << text(body.at("error").at("message")) << "\n";
}

result<void> run(const std::string& url, std::vector<std::string> lines) {
  TROUPE_ASSIGN(const auto http, launch::http_client::open(url));
  TROUPE_ASSIGN(const auto status, http.get("/status")); // says where the job gateway listens
  TROUPE_ASSIGN(auto jobs, job_client::connect(text(status.at("jobs"))));
  TROUPE_ASSIGN(const auto job, jobs.submit(std::move(lines)));
  for (std::uint64_t taken = 0; taken < job.lines;) {
    TROUPE_ASSIGN(const auto results, jobs.results(job.job, taken));
    for (const auto& line : results.lines) print(json::parse(line));
    taken += results.lines.size();
    if (results.lines.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return {};
}

} // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: 02_submit_cpp URL QUESTION...\n";
    return 2;
  }
  std::vector<std::string> lines;
  for (int i = 2; i < argc; ++i) lines.push_back(batch_line(argv[i]));
  const auto done = run(argv[1], std::move(lines));
  if (done) return 0;
  std::cerr << done.error().message << "\n";
  return 1;
}
