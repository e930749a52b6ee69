// The other end of the job gateway: plain calls for programs that are no actors. `troupe submit` and
// examples/02_submit_cpp use it.
#pragma once

#include "actors/gateways/job_messages.hpp"
#include "runtime/core/result.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace troupe {

/// Every call blocks for at most limits::rpc_timeout. Errors: disconnected when no answer comes, else the gateway's
/// own. Not thread-safe.
class job_client {
 public:
  /// `address` is "ucx://host:port/uid/jobs", as /status of the HTTP gateway shows it.
  static result<job_client> connect(const std::string& address);

  /// Starts a job of OpenAI batch requests, one JSON text a line. Errors: bad_input naming the line, overloaded.
  result<job_progress> submit(std::vector<std::string> lines);
  /// Errors of the rest: not_found.
  result<job_progress> progress(std::uint64_t job);
  result<job_progress> cancel(std::uint64_t job);
  /// Answers from number `from` on, in the order they came; not always all at once.
  result<job_results> results(std::uint64_t job, std::uint64_t from);

  job_client(job_client&&) noexcept;
  job_client& operator=(job_client&&) noexcept;
  ~job_client();

 private:
  struct state;
  explicit job_client(std::unique_ptr<state> s);
  std::unique_ptr<state> state_;
};

} // namespace troupe
