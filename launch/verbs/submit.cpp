// troupe submit: a prompt, or a JSONL file of OpenAI batch requests, as a job that does not need this process to live.
//
//   submit ─HTTP /status─▶ where the job gateway listens ─actor RPC─▶ submit_job, fetch_results ...
#include "launch/verbs/submit.hpp"

#include "actors/gateways/job_client.hpp"
#include "launch/verbs/http_client.hpp"
#include "launch/verbs/verbs.hpp"

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace troupe::launch {

namespace {

namespace json = boost::json;

constexpr std::chrono::milliseconds poll_interval{200};

struct submit_flags {
  std::string url = "http://127.0.0.1:8000", api_key, input, output, job;
  std::optional<double> temperature;
  std::optional<std::int64_t> seed;
  std::optional<int> max_tokens;
  bool detach = false, wait = false;
};

std::atomic<bool> interrupted{false};

result<job_client> connect(const std::string& url, const std::string& api_key) {
  TROUPE_ASSIGN(const auto http, http_client::open(url, api_key));
  TROUPE_ASSIGN(const auto status, http.get("/status"));
  const auto* address = status.is_object() ? status.get_object().if_contains("jobs") : nullptr;
  if (!address || !address->is_string() || address->get_string().empty())
    return error{errc::unsupported, url + " takes no jobs"};
  return job_client::connect(std::string(address->get_string()));
}

result<std::uint64_t> job_number(const std::string& text) {
  std::uint64_t out = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (failed != std::errc() || end != text.data() + text.size())
    return error{errc::bad_input, "\"" + text + "\" is not the number of a job"};
  return out;
}

/// One request for a prompt, in the form a file would have.
std::string prompt_line(const submit_flags& flags) {
  json::object body{{"messages", {{{"role", "user"}, {"content", flags.input}}}}};
  if (flags.temperature) body["temperature"] = *flags.temperature;
  if (flags.seed) body["seed"] = *flags.seed;
  if (flags.max_tokens) body["max_tokens"] = *flags.max_tokens;
  return json::serialize(json::object{
      {"custom_id", "prompt"}, {"method", "POST"}, {"url", "/v1/chat/completions"}, {"body", std::move(body)}});
}

result<std::vector<std::string>> read_lines(const std::string& file) {
  std::ifstream in(file);
  if (!in) return error{errc::not_found, file + ": cannot be opened"};
  std::vector<std::string> out;
  for (std::string line; std::getline(in, line);)
    if (line.find_first_not_of(" \t\r") != line.npos) out.push_back(line);
  return out;
}

std::string seconds_text(double seconds) {
  char out[32];
  std::snprintf(out, sizeof out, seconds < 10 ? "%.1f s" : "%.0f s", seconds);
  return out;
}

/// "120 of 200, 3 failed, 12 s, 8.0 s left"
std::string describe(const job_progress& p) {
  auto out = std::to_string(p.done) + " of " + std::to_string(p.lines);
  if (p.failed > 0) out += ", " + std::to_string(p.failed) + " failed";
  const double age = static_cast<double>(p.age_ms) / 1000;
  out += ", " + seconds_text(age);
  if (p.cancelled) return out + ", cancelled";
  if (p.done > 0 && p.done < p.lines)
    out += ", " + seconds_text(age * static_cast<double>(p.lines - p.done) / static_cast<double>(p.done)) + " left";
  return out;
}

void draw_bar(const job_progress& p) {
  constexpr std::uint64_t width = 30;
  if (isatty(STDERR_FILENO) == 0) return;
  const auto full = p.lines == 0 ? 0 : width * p.done / p.lines;
  std::fprintf(stderr, "\r\033[K[%s%s] %s", std::string(full, '#').c_str(), std::string(width - full, '.').c_str(),
               describe(p).c_str());
}

bool ended(const job_progress& p) { return p.cancelled || p.done == p.lines; }

/// The text of one answer, for a prompt; the whole line where it is something else.
std::string answer_text(const std::string& line) {
  const auto answer = json::parse(line);
  boost::system::error_code missing;
  const auto* content = answer.find_pointer("/response/body/choices/0/message/content", missing);
  return content && content->is_string() ? std::string(content->get_string()) : line;
}

/// Writes answers as they come. Ctrl-C ends the waiting, not the job.
result<void> follow(job_client& client, std::uint64_t job, std::ostream& out, bool as_text) {
  std::signal(SIGINT, [](int) { interrupted = true; });
  for (std::uint64_t taken = 0;;) {
    TROUPE_ASSIGN(const auto results, client.results(job, taken));
    for (const auto& line : results.lines) out << (as_text ? answer_text(line) : line) << '\n';
    taken += results.lines.size();
    const auto& progress = results.progress;
    draw_bar(progress);
    if (ended(progress) && taken >= progress.done) {
      out.flush();
      if (!as_text) std::fprintf(stderr, "%s%s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", describe(progress).c_str());
      if (!out) return error{errc::bad_input, "the answers cannot be written"};
      if (progress.failed == 0) return {};
      return error{errc::bad_input, std::to_string(progress.failed) + " requests failed"};
    }
    if (interrupted) {
      std::fprintf(stderr, "\njob %llu goes on\n", static_cast<unsigned long long>(job));
      return {};
    }
    if (results.lines.empty()) std::this_thread::sleep_for(poll_interval);
  }
}

result<std::uint64_t> start(job_client& client, const submit_flags& flags, bool from_file) {
  std::vector<std::string> lines{prompt_line(flags)};
  if (from_file) {
    TROUPE_ASSIGN(lines, read_lines(flags.input));
  }
  TROUPE_ASSIGN(const auto progress, client.submit(std::move(lines)));
  return progress.job;
}

result<void> submit(const submit_flags& flags) {
  if (flags.input.empty() == flags.job.empty())
    return error{errc::bad_input, "give a prompt, a JSONL file or --job, one of them"};
  std::ofstream file;
  if (!flags.output.empty()) {
    file.open(flags.output);
    if (!file) return error{errc::bad_input, flags.output + ": cannot be written"};
  }
  const bool from_file = std::filesystem::is_regular_file(flags.input);
  TROUPE_ASSIGN(auto client, connect(flags.url, flags.api_key));
  TROUPE_ASSIGN(const auto job, flags.job.empty() ? start(client, flags, from_file) : job_number(flags.job));
  if (flags.detach) {
    std::printf("%llu\n", static_cast<unsigned long long>(job));
    return {};
  }
  const bool as_text = !from_file && flags.job.empty() && flags.output.empty();
  return follow(client, job, flags.output.empty() ? std::cout : file, as_text);
}

} // namespace

result<void> print_job(const std::string& url, const std::string& api_key, const std::string& job) {
  TROUPE_ASSIGN(const auto number, job_number(job));
  TROUPE_ASSIGN(auto client, connect(url, api_key));
  TROUPE_ASSIGN(const auto progress, client.progress(number));
  std::printf("job %s: %s\n", job.c_str(), describe(progress).c_str());
  return {};
}

void add_submit(CLI::App& app) {
  auto flags = std::make_shared<submit_flags>();
  auto* verb = app.add_subcommand("submit", "run a prompt or a JSONL file of OpenAI batch requests as a job");
  verb->add_option("input", flags->input, "a prompt, or a file with one request a line");
  verb->add_option("-o,--output", flags->output, "file for the answers, one JSON line each; default: stdout");
  verb->add_option("--job", flags->job, "wait for this job and fetch its answers instead");
  auto* detach = verb->add_flag("--detach", flags->detach, "print the job's number and leave");
  verb->add_flag("--wait", flags->wait, "stay until the last answer (the default)")->excludes(detach);
  verb->add_option("--url", flags->url, "of the server")->capture_default_str();
  verb->add_option("--api-key", flags->api_key, "where the server asks for one")->envname("TROUPE_API_KEY");
  verb->add_option("--temperature", flags->temperature, "of a prompt; 0 is greedy");
  verb->add_option("--seed", flags->seed, "of a prompt");
  verb->add_option("--max-tokens", flags->max_tokens, "of a prompt; thinking included");
  verb->callback([flags] { finish(submit(*flags)); });
}

} // namespace troupe::launch
