// The messages of the job gateway, in a block of their own: add_message_types<caf::id_block::troupe_jobs>() on both
// sides.
#pragma once

#include "actors/interfaces.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace troupe {

/// Lines of OpenAI's batch format, one JSON object each: {"custom_id","method":"POST","url","body"}.
struct submit_job {
  std::vector<std::string> lines;
};

struct get_job {
  std::uint64_t job = 0;
};

/// Takes no new lines of the job and ends those under way.
struct cancel_job {
  std::uint64_t job = 0;
};

/// How far a job is; the answer to submit_job, get_job and cancel_job.
struct job_progress {
  std::uint64_t job = 0;
  std::uint64_t lines = 0;
  std::uint64_t done = 0;   ///< answered, with whatever status
  std::uint64_t failed = 0; ///< of those, not with 200
  bool cancelled = false;
  std::uint64_t age_ms = 0; ///< since it was submitted, or how long it took
};

/// Answers in the order they became known, from number `from` on.
struct fetch_results {
  std::uint64_t job = 0;
  std::uint64_t from = 0;
};

struct job_results {
  job_progress progress;
  std::vector<std::string> lines; ///< at most limits::job_fetch_bytes_max together, one line at least if there is one
};

/// One line has its answer; from the completion's thread to the job gateway itself.
struct line_finished {
  std::uint64_t job = 0;
  std::uint64_t line = 0;
  bool ok = false;
  bool again = false; ///< the cluster was full: try later
  std::string answer; ///< or, to try it again, the line itself
};

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, submit_job& x) {
  return f(caf::meta::type_name("submit_job"), x.lines);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, get_job& x) {
  return f(caf::meta::type_name("get_job"), x.job);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, cancel_job& x) {
  return f(caf::meta::type_name("cancel_job"), x.job);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, job_progress& x) {
  return f(caf::meta::type_name("job_progress"), x.job, x.lines, x.done, x.failed, x.cancelled, x.age_ms);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, fetch_results& x) {
  return f(caf::meta::type_name("fetch_results"), x.job, x.from);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, job_results& x) {
  return f(caf::meta::type_name("job_results"), x.progress, x.lines);
}

template <class Inspector>
typename Inspector::result_type inspect(Inspector& f, line_finished& x) {
  return f(caf::meta::type_name("line_finished"), x.job, x.line, x.ok, x.again, x.answer);
}

} // namespace troupe

CAF_BEGIN_TYPE_ID_BLOCK(troupe_jobs, caf::id_block::troupe::end)
CAF_ADD_TYPE_ID(troupe_jobs, (troupe::submit_job))
CAF_ADD_TYPE_ID(troupe_jobs, (troupe::get_job))
CAF_ADD_TYPE_ID(troupe_jobs, (troupe::cancel_job))
CAF_ADD_TYPE_ID(troupe_jobs, (troupe::job_progress))
CAF_ADD_TYPE_ID(troupe_jobs, (troupe::fetch_results))
CAF_ADD_TYPE_ID(troupe_jobs, (troupe::job_results))
CAF_ADD_TYPE_ID(troupe_jobs, (troupe::line_finished))
CAF_END_TYPE_ID_BLOCK(troupe_jobs)

namespace troupe {

/// Jobs of many completions, kept in memory until the process ends or limits::jobs_max newer ones push them out.
using job_gateway_actor = caf::typed_actor<
    // Checks every line and starts the job; refuses it whole if a line is no batch request.
    caf::replies_to<submit_job>::with<job_progress>,
    // How far it is; not_found for a job that is unknown or was pushed out.
    caf::replies_to<get_job>::with<job_progress>,
    // Ends it early.
    caf::replies_to<cancel_job>::with<job_progress>,
    // Answers so far.
    caf::replies_to<fetch_results>::with<job_results>,
    // To itself: one line is answered.
    caf::reacts_to<line_finished>,
    // To itself: lines that found the cluster full are tried again.
    caf::reacts_to<retry_atom>>;

} // namespace troupe
