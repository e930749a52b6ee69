#include "actors/gateways/completion_task.hpp"

#include <boost/asio/post.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <utility>

namespace troupe {

namespace {

double seconds(duration d) { return std::chrono::duration<double>(d).count(); }

std::int64_t unix_time() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string answer_id(openai::endpoint where, request_id id) {
  char digits[16];
  const auto end = std::to_chars(std::begin(digits), std::end(digits), id.value, 16).ptr;
  return (where == openai::endpoint::chat_completions ? "chatcmpl-" : "cmpl-") + std::string(digits, end);
}

openai::api_error given_up() {
  return openai::to_api_error({errc::disconnected, "the cluster could not finish the request; send it again"});
}

} // namespace

openai::reply<std::shared_ptr<completion_task>> completion_task::start(completion_service& service,
                                                                       openai::endpoint where,
                                                                       const boost::json::object& body, task_home home,
                                                                       answer_sink sink) {
  TROUPE_ASSIGN(auto request, openai::parse_request(where, body));
  TROUPE_ASSIGN(auto plans, openai::plan(request, service.text(), service.next_number()));
  std::vector<generation_request> generations;
  for (auto& plan : plans) {
    plan.generation.id = service.generation().next_id();
    generations.push_back(plan.generation);
    auto& max_tokens = generations.back().sampling.max_tokens;
    max_tokens = std::max(1, max_tokens); // 0 asks for the prompt's scores, which come with a first token
  }
  openai::answer_head head{answer_id(where, generations.front().id), unix_time(), service.text().model_name};
  openai::completion answer(std::move(request), std::move(plans), service.text(), std::move(head));
  std::shared_ptr<completion_task> task(new completion_task(service, std::move(answer), std::move(sink)));
  TROUPE_TRY(task->submit(generations, home));
  return task;
}

completion_task::completion_task(completion_service& service, openai::completion answer, answer_sink sink)
    : service_(service), answer_(std::move(answer)), sink_(std::move(sink)) {
  for (std::size_t i = 0; i < answer_.size(); ++i)
    generations_.push_back({.id = answer_.choice(i).plan().generation.id});
}

completion_task::~completion_task() {
  for (std::size_t i = 0; i < generations_.size(); ++i) close(i, "abort");
}

// Events may arrive before submit() returns, but nothing here changes while they do: they wait for the executor.
openai::reply<void> completion_task::submit(const std::vector<generation_request>& requests, const task_home& home) {
  for (std::size_t i = 0; i < requests.size(); ++i) {
    auto sink = [home, i, weak = weak_from_this()](const token_event& event) {
      boost::asio::post(home.executor, [weak, i, event] {
        if (const auto task = weak.lock()) task->on_event(i, event);
      });
    };
    const auto admitted = service_.generation().submit(requests[i], std::move(sink));
    if (admitted) continue;
    for (auto& g : generations_) g.counted = true; // as a rejection, by whoever called
    for (std::size_t later = i; later < requests.size(); ++later) generations_[later].open = false;
    return openai::to_api_error(admitted.error());
  }
  return {};
}

void completion_task::on_event(std::size_t i, const token_event& event) {
  if (ended_) return;
  measure(generations_[i], event);
  answer_part part;
  part.chunks = answer_.push(i, event);
  if (event.finish != finish_reason::none) generations_[i].open = false; // before close(): nothing to cancel
  if (answer_.choice(i).done()) close(i, answer_.choice(i).finish_reason());
  if (answer_.failed()) {
    part.failure = given_up();
    part.last = true;
  } else if (answer_.done()) {
    end(part);
  }
  ended_ = part.last;
  if (ended_ || !part.chunks.empty()) sink_(std::move(part));
}

void completion_task::end(answer_part& part) {
  part.last = true;
  if (!answer_.streams()) {
    part.body = answer_.body();
    return;
  }
  for (auto& chunk : answer_.last_chunks()) part.chunks.push_back(std::move(chunk));
}

void completion_task::close(std::size_t i, const std::string& reason) {
  auto& g = generations_[i];
  if (std::exchange(g.open, false)) service_.generation().cancel(g.id);
  if (std::exchange(g.counted, true)) return;
  const auto& choice = answer_.choice(i);
  service_.metrics().on_finished({.finished_reason = reason,
                                  .prompt_tokens = choice.prompt_tokens(),
                                  .generation_tokens = choice.completion_tokens(),
                                  .e2e_s = seconds(clock::now() - arrived_at_),
                                  .time_to_first_token_s = g.time_to_first_token_s,
                                  .queue_s = g.queue_s,
                                  .decode_s = seconds(g.last_token_at - g.first_token_at)});
}

void completion_task::measure(generation& g, const token_event& event) {
  if (event.index < 0 || event.token < 0) return;
  const auto now = clock::now();
  if (g.time_to_first_token_s == 0) {
    g.first_token_at = now;
    g.time_to_first_token_s = seconds(now - arrived_at_);
    g.queue_s = event.queue_ms / 1000.0;
    service_.metrics().on_first_token(g.time_to_first_token_s);
  } else {
    service_.metrics().on_next_token(seconds(now - g.last_token_at));
  }
  g.last_token_at = now;
}

} // namespace troupe
