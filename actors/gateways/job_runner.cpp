#include "actors/gateways/job_runner.hpp"

#include "actors/gateways/openai/batch.hpp"

#include <boost/asio/post.hpp>
#include <boost/json/serialize.hpp>

#include <utility>

namespace troupe {

namespace {

std::string answer_id(const job_table::line_ref& line) {
  return "req_" + std::to_string(line.job) + "_" + std::to_string(line.line);
}

} // namespace

job_runner::~job_runner() {
  thread_->stop();
  thread_->join();
  running_.clear();
}

void job_runner::run(job_table::line_ref line) {
  boost::asio::post(*thread_, [this, line = std::move(line)]() mutable { start(std::move(line)); });
}

void job_runner::cancel(std::uint64_t job) {
  boost::asio::post(*thread_, [this, job] {
    for (auto at = running_.lower_bound({job, 0}); at != running_.end() && at->first.first == job;) {
      auto line = std::move(at->second);
      at = running_.erase(at);
      end(std::move(line), openai::to_api_error({errc::cancelled, "the job was cancelled"}));
    }
  });
}

void job_runner::start(job_table::line_ref line) {
  const key where{line.job, line.line};
  auto parsed = openai::parse_batch_line(line.text);
  running here{std::move(line), parsed ? parsed->custom_id : "", nullptr};
  if (!parsed) return end(std::move(here), parsed.error());
  // The thread is alone: events wait until the task is in its place.
  auto started = completion_task::start(service_, parsed->endpoint, parsed->body, {thread_, thread_->get_executor()},
                                        [this, where](answer_part part) { on_part(where, std::move(part)); });
  if (!started) return end(std::move(here), started.error());
  here.task = *std::move(started);
  running_.emplace(where, std::move(here));
}

void job_runner::on_part(key where, answer_part part) {
  const auto found = running_.find(where);
  if (!part.last || found == running_.end()) return;
  auto here = std::move(found->second);
  running_.erase(found);
  if (part.failure) return end(std::move(here), *part.failure);
  auto answer = openai::batch_answer(here.custom_id, answer_id(here.line), 200, part.body);
  on_end_({std::move(here.line), true, false, std::move(answer)});
}

void job_runner::end(running here, const openai::api_error& why) {
  const bool again = !here.task && (why.status == 429 || why.status == 503);
  auto answer = openai::batch_answer(here.custom_id, answer_id(here.line), why.status,
                                     boost::json::serialize(openai::to_json(why)));
  on_end_({std::move(here.line), false, again, std::move(answer)});
}

} // namespace troupe
