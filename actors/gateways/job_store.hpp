// All jobs of a job gateway: which lines wait, which are being answered, which answers are known. Plain state; takes
// `now`, returns decisions.
// Invariant: every line of a job is waiting, in flight, or answered, until the job is cancelled.
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

class job_store {
 public:
  /// One line to be answered now.
  struct work {
    std::uint64_t job = 0;
    std::uint64_t line = 0;
    std::string text;
  };

  /// `first_id` lets jobs of two lives of a gateway have different numbers.
  explicit job_store(std::uint64_t first_id = 1, std::size_t in_flight_max = limits::job_lines_in_flight)
      : next_id_(first_id), in_flight_max_(in_flight_max) {}

  /// Errors: bad_input naming the first bad line, or for a job that is too large; overloaded when all places are taken
  /// by jobs that are not finished.
  result<job_progress> add(std::vector<std::string> lines, time_point now);

  /// Lines to start, oldest job first, as many as limits::job_lines_in_flight allows.
  std::vector<work> take();

  /// An answer. Late ones of a cancelled job are forgotten.
  void finish(const line_finished& line, time_point now);
  /// The line could not be started: it waits again, before the others of its job.
  void put_back(std::uint64_t job, std::uint64_t line);

  /// Errors of the rest: not_found.
  result<job_progress> progress(std::uint64_t job, time_point now) const;
  result<job_progress> cancel(std::uint64_t job, time_point now);
  result<job_results> results(std::uint64_t job, std::uint64_t from, time_point now) const;

 private:
  struct entry {
    std::vector<std::string> lines; ///< emptied one by one as they are answered
    std::deque<std::uint64_t> waiting;
    std::vector<std::string> answers; ///< in the order they came
    std::uint64_t failed = 0;
    std::size_t in_flight = 0;
    bool cancelled = false;
    time_point begun_at;
    std::optional<time_point> ended_at;
  };

  bool make_room();
  static bool ended(const entry& e) { return e.waiting.empty() && e.in_flight == 0; }
  static job_progress describe(std::uint64_t id, const entry& e, time_point now);

  std::map<std::uint64_t, entry> jobs_;
  std::uint64_t next_id_;
  std::size_t in_flight_max_;
  std::size_t in_flight_ = 0;
};

} // namespace troupe
