#include "actors/gateways/job_table.hpp"

#include "actors/gateways/openai/batch.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace troupe {

namespace {

error unknown(std::uint64_t job) {
  return {errc::not_found, "job " + std::to_string(job) + " is unknown: jobs end with the server's process"};
}

result<void> check(const std::vector<std::string>& lines) {
  if (lines.empty() || lines.size() > limits::job_lines_max)
    return error{errc::bad_input, "a job has 1 to " + std::to_string(limits::job_lines_max) + " lines"};
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    bytes += lines[i].size();
    const auto parsed = openai::parse_batch_line(lines[i]);
    if (!parsed) return error{errc::bad_input, "line " + std::to_string(i + 1) + ": " + parsed.error().message};
  }
  if (bytes > limits::job_bytes_max)
    return error{errc::bad_input, "a job has at most " + std::to_string(limits::job_bytes_max) + " bytes"};
  return {};
}

} // namespace

result<job_progress> job_table::add(std::vector<std::string> lines, time_point now) {
  TROUPE_TRY(check(lines));
  if (!make_room()) return error{errc::overloaded, std::to_string(limits::jobs_max) + " jobs are under way"};
  const auto number = next_job_++;
  auto& j = jobs_[number];
  j.begun = now;
  j.lines = lines.size();
  for (std::size_t i = 0; i < lines.size(); ++i) j.waiting.push_back({number, i, std::move(lines[i])});
  return progress_of(number, j, now);
}

std::optional<job_table::line_ref> job_table::next() {
  if (in_flight_ >= limits::job_lines_in_flight) return std::nullopt;
  const auto found = std::find_if(jobs_.begin(), jobs_.end(), [](const auto& j) { return !j.second.waiting.empty(); });
  if (found == jobs_.end()) return std::nullopt;
  auto& j = found->second;
  auto out = std::move(j.waiting.front());
  j.waiting.pop_front();
  ++j.in_flight;
  ++in_flight_;
  return out;
}

void job_table::put_back(line_ref line) {
  auto& j = jobs_.at(line.job);
  --j.in_flight;
  --in_flight_;
  if (!j.cancelled) j.waiting.push_front(std::move(line));
}

void job_table::finish(std::uint64_t number, bool ok, std::string answer, time_point now) {
  auto& j = jobs_.at(number);
  --j.in_flight;
  --in_flight_;
  j.failed += !ok;
  j.answers.push_back(std::move(answer));
  if (j.finished()) j.ended = now;
}

result<job_progress> job_table::cancel(std::uint64_t number, time_point now) {
  const auto found = jobs_.find(number);
  if (found == jobs_.end()) return unknown(number);
  auto& j = found->second;
  if (!j.finished()) {
    j.cancelled = true;
    j.waiting.clear();
    j.ended = now;
  }
  return progress_of(number, j, now);
}

result<job_progress> job_table::progress(std::uint64_t number, time_point now) const {
  const auto found = jobs_.find(number);
  if (found == jobs_.end()) return unknown(number);
  return progress_of(number, found->second, now);
}

result<job_results> job_table::results(const fetch_results& wish, time_point now) const {
  TROUPE_ASSIGN(auto progress, this->progress(wish.job, now));
  job_results out{progress, {}};
  const auto& answers = jobs_.at(wish.job).answers;
  std::size_t bytes = 0;
  for (auto i = wish.from; i < answers.size(); ++i) {
    bytes += answers[i].size();
    if (bytes > limits::job_fetch_bytes_max && !out.lines.empty()) break;
    out.lines.push_back(answers[i]);
  }
  return out;
}

/// The oldest finished job leaves when there are too many.
bool job_table::make_room() {
  if (jobs_.size() < limits::jobs_max) return true;
  const auto oldest = std::find_if(jobs_.begin(), jobs_.end(), [](const auto& j) { return j.second.finished(); });
  if (oldest == jobs_.end()) return false;
  jobs_.erase(oldest);
  return true;
}

job_progress job_table::progress_of(std::uint64_t number, const job& j, time_point now) {
  const auto age = (j.finished() ? j.ended : now) - j.begun;
  return {.job = number,
          .lines = j.lines,
          .done = j.answers.size(),
          .failed = j.failed,
          .cancelled = j.cancelled,
          .age_ms = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(age).count())};
}

} // namespace troupe
