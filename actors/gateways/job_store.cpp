#include "actors/gateways/job_store.hpp"

#include "actors/gateways/openai/batch.hpp"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <unordered_set>
#include <utility>

namespace troupe {

namespace {

error unknown(std::uint64_t job) { return {errc::not_found, "job " + std::to_string(job) + " is not known here"}; }

result<void> check(const std::vector<std::string>& lines) {
  const auto bad = [](std::string message) { return error{errc::bad_input, std::move(message)}; };
  if (lines.empty() || lines.size() > limits::job_lines_max)
    return bad("a job has 1 to " + std::to_string(limits::job_lines_max) + " lines, this one " +
               std::to_string(lines.size()));
  const auto bytes = std::accumulate(lines.begin(), lines.end(), std::size_t{0},
                                     [](std::size_t sum, const auto& line) { return sum + line.size(); });
  if (bytes > limits::job_bytes_max)
    return bad("a job has at most " + std::to_string(limits::job_bytes_max) + " bytes, this one " +
               std::to_string(bytes));
  std::unordered_set<std::string> seen;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto where = "line " + std::to_string(i + 1) + ": ";
    const auto line = openai::parse_batch_line(lines[i]);
    if (!line) return bad(where + line.error().message);
    if (!seen.insert(line->custom_id).second)
      return bad(where + "custom_id: \"" + line->custom_id + "\" was used before");
  }
  return {};
}

} // namespace

result<job_progress> job_store::add(std::vector<std::string> lines, time_point now) {
  TROUPE_TRY(check(lines));
  if (!make_room()) return error{errc::overloaded, std::to_string(jobs_.size()) + " jobs are under way"};
  entry e;
  e.begun_at = now;
  e.waiting.resize(lines.size());
  std::iota(e.waiting.begin(), e.waiting.end(), 0);
  e.lines = std::move(lines);
  const auto it = jobs_.emplace(next_id_++, std::move(e)).first;
  return describe(it->first, it->second, now);
}

bool job_store::make_room() {
  if (jobs_.size() < limits::jobs_max) return true;
  const auto oldest = std::find_if(jobs_.begin(), jobs_.end(), [](const auto& job) { return ended(job.second); });
  if (oldest == jobs_.end()) return false;
  jobs_.erase(oldest);
  return true;
}

std::vector<job_store::work> job_store::take() {
  std::vector<work> out;
  for (auto& [id, e] : jobs_)
    for (; in_flight_ < in_flight_max_ && !e.waiting.empty(); ++in_flight_, ++e.in_flight) {
      const auto line = e.waiting.front();
      e.waiting.pop_front();
      out.push_back({id, line, e.lines[line]});
    }
  return out;
}

void job_store::finish(const line_finished& line, time_point now) {
  const auto it = jobs_.find(line.job);
  if (it == jobs_.end() || it->second.cancelled) return;
  auto& e = it->second;
  --in_flight_, --e.in_flight;
  e.lines[line.line].clear();
  e.answers.push_back(line.answer);
  if (!line.ok) ++e.failed;
  if (ended(e)) e.ended_at = now;
}

void job_store::put_back(std::uint64_t job, std::uint64_t line) {
  const auto it = jobs_.find(job);
  if (it == jobs_.end() || it->second.cancelled) return;
  --in_flight_, --it->second.in_flight;
  it->second.waiting.push_front(line);
}

result<job_progress> job_store::progress(std::uint64_t job, time_point now) const {
  const auto it = jobs_.find(job);
  if (it == jobs_.end()) return unknown(job);
  return describe(job, it->second, now);
}

result<job_progress> job_store::cancel(std::uint64_t job, time_point now) {
  const auto it = jobs_.find(job);
  if (it == jobs_.end()) return unknown(job);
  auto& e = it->second;
  if (!ended(e)) {
    in_flight_ -= std::exchange(e.in_flight, 0);
    e.waiting.clear();
    e.cancelled = true;
    e.ended_at = now;
  }
  return describe(job, e, now);
}

result<job_results> job_store::results(std::uint64_t job, std::uint64_t from, time_point now) const {
  const auto it = jobs_.find(job);
  if (it == jobs_.end()) return unknown(job);
  const auto& answers = it->second.answers;
  job_results out{describe(job, it->second, now), {}};
  std::size_t bytes = 0;
  for (auto i = from; i < answers.size(); ++i) {
    bytes += answers[i].size();
    if (bytes > limits::job_fetch_bytes_max && !out.lines.empty()) break;
    out.lines.push_back(answers[i]);
  }
  return out;
}

job_progress job_store::describe(std::uint64_t id, const entry& e, time_point now) {
  job_progress out;
  out.job = id;
  out.lines = e.lines.size();
  out.done = e.answers.size();
  out.failed = e.failed;
  out.cancelled = e.cancelled;
  const auto age = e.ended_at.value_or(now) - e.begun_at;
  out.age_ms = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(age).count());
  return out;
}

} // namespace troupe
