// One client request on its way: its generations at the router, and the answer that grows from their tokens. The HTTP
// gateway runs it for a connection, the job gateway for a line of a job.
#pragma once

#include "actors/gateways/completion_service.hpp"
#include "actors/gateways/openai/completion.hpp"
#include "runtime/core/clock.hpp"

#include <boost/asio/any_io_executor.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace troupe {

/// What became known of an answer.
struct answer_part {
  std::vector<std::string> chunks{};          ///< JSON texts of a stream, in order
  std::string body{};                         ///< with the last part, if the request does not stream
  std::optional<openai::api_error> failure{}; ///< the cluster gave up; always the last part
  bool last = false;
};

/// Called on the task's executor, never after a part that was the last.
using answer_sink = std::function<void(answer_part)>;

/// Where a task runs, one call at a time. A token sink may be the last that holds it, in a thread of the service and
/// after its gateway is gone: so the execution context lives as long as its executor.
struct task_home {
  std::shared_ptr<void> context;
  boost::asio::any_io_executor executor; ///< declared last: destroyed first
};

/// Destroying it frees its generations within one step. All but start() belongs to its executor.
class completion_task : public std::enable_shared_from_this<completion_task> {
 public:
  /// Checks `body`, tokenizes and submits; takes milliseconds for long prompts, so call it on a thread that may.
  /// `sink` and everything else runs on `home`. Errors: whatever the client has to be told.
  static openai::reply<std::shared_ptr<completion_task>> start(completion_service& service, openai::endpoint where,
                                                               const boost::json::object& body, task_home home,
                                                               answer_sink sink);
  ~completion_task();

  bool streams() const { return answer_.streams(); }

 private:
  struct generation {
    request_id id;
    time_point first_token_at{}, last_token_at{};
    double time_to_first_token_s = 0;
    double queue_s = 0;
    bool open = true;     ///< the router still works on it
    bool counted = false; ///< in the metrics of finished requests
  };

  completion_task(completion_service& service, openai::completion answer, answer_sink sink);
  openai::reply<void> submit(const std::vector<generation_request>& requests, const task_home& home);
  void on_event(std::size_t i, const token_event& event);
  void measure(generation& g, const token_event& event);
  void close(std::size_t i, const std::string& reason);
  void end(answer_part& part);

  completion_service& service_;
  openai::completion answer_;
  answer_sink sink_;
  std::vector<generation> generations_;
  time_point arrived_at_ = clock::now();
  bool ended_ = false;
};

} // namespace troupe
