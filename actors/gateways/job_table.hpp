// The jobs that are kept, and which line of which job comes next. Plain state.
//
//   add ─▶ waiting lines ─next─▶ in flight ─finish─▶ answers
//               ▲──────────put_back──┘
#pragma once

#include "actors/gateways/job_messages.hpp"
#include "runtime/core/clock.hpp"
#include "runtime/core/limits.hpp"
#include "runtime/core/result.hpp"

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace troupe {

class job_table {
 public:
  struct line_ref {
    std::uint64_t job = 0;
    std::uint64_t line = 0;
    std::string text;
  };

  /// Jobs are numbered from `first_job`; so that numbers of an earlier life of the process mean nothing.
  explicit job_table(std::uint64_t first_job) : next_job_(first_job) {}

  /// Errors: bad_input naming the line that is no batch request, overloaded when jobs_max jobs are unfinished.
  result<job_progress> add(std::vector<std::string> lines, time_point now);
  /// The next line to run, oldest job first; none while limits::job_lines_in_flight are under way.
  std::optional<line_ref> next();
  /// The line could not be started: it comes again.
  void put_back(line_ref line);
  void finish(std::uint64_t job, bool ok, std::string answer, time_point now);
  /// Lines under way still finish(); the others never start. Errors: not_found.
  result<job_progress> cancel(std::uint64_t job, time_point now);

  /// Errors: not_found.
  result<job_progress> progress(std::uint64_t job, time_point now) const;
  result<job_results> results(const fetch_results& wish, time_point now) const;

 private:
  struct job {
    std::deque<line_ref> waiting;
    std::vector<std::string> answers;
    std::uint64_t lines = 0;
    std::uint64_t in_flight = 0;
    std::uint64_t failed = 0;
    bool cancelled = false;
    time_point begun;
    time_point ended; ///< once finished
    bool finished() const { return waiting.empty() && in_flight == 0; }
  };

  bool make_room();
  static job_progress progress_of(std::uint64_t number, const job& j, time_point now);

  std::map<std::uint64_t, job> jobs_;
  std::uint64_t next_job_;
  std::size_t in_flight_ = 0;
};

} // namespace troupe
