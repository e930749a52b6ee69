// Runs single lines of jobs as completions, on a thread of its own: tokenizing and asking the router would hold up an
// actor.
#pragma once

#include "actors/gateways/completion_task.hpp"
#include "actors/gateways/job_table.hpp"

#include <boost/asio/thread_pool.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

namespace troupe {

/// How a line ended.
struct line_end {
  job_table::line_ref line;
  bool ok = false;
  bool again = false; ///< the cluster was full or not ready: nothing was done
  std::string answer; ///< the line of the result
};

class job_runner {
 public:
  /// `on_end` is called on the runner's thread, once for every line.
  job_runner(completion_service& service, std::function<void(line_end)> on_end)
      : service_(service), on_end_(std::move(on_end)) {}
  /// Frees all requests under way; on_end is not called for them.
  ~job_runner();

  /// Any thread.
  void run(job_table::line_ref line);
  /// Ends the lines of `job` that are under way. Any thread.
  void cancel(std::uint64_t job);

 private:
  using key = std::pair<std::uint64_t, std::uint64_t>; // job, line
  struct running {
    job_table::line_ref line;
    std::string custom_id;
    std::shared_ptr<completion_task> task;
  };

  void start(job_table::line_ref line);
  void on_part(key where, answer_part part);
  void end(running line, const openai::api_error& why);

  completion_service& service_;
  std::function<void(line_end)> on_end_;
  std::shared_ptr<boost::asio::thread_pool> thread_ = std::make_shared<boost::asio::thread_pool>(1);
  std::map<key, running> running_; // touched on the thread only
};

} // namespace troupe
