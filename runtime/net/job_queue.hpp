// What other threads want done in a progress thread: a lock-free stack that is taken as a whole and turned round, and
// the descriptor that wakes the thread. Lives longer than the transport (receipts hold it).
// Invariant: whoever pushes before the thread has looked again for the last time wakes it; nobody else pays for that.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

namespace troupe::net {

/// Something to do in the progress thread.
struct job {
  job() = default;
  job(const job&) = delete;
  job& operator=(const job&) = delete;
  virtual ~job() = default;
  /// `self` is this job: whoever keeps it keeps the job.
  virtual void run(std::unique_ptr<job> self) = 0;

  job* next = nullptr; ///< of the queue
};

class job_queue {
 public:
  job_queue();
  job_queue(const job_queue&) = delete;
  job_queue& operator=(const job_queue&) = delete;
  ~job_queue();

  /// Any thread.
  void push(std::unique_ptr<job> work);
  void push(std::function<void()> task);
  bool empty() const { return newest_.load(std::memory_order_seq_cst) == nullptr; }
  /// Ends the sleep of the progress thread, if it sleeps. Any thread.
  void wake();

  /// Progress thread: runs everything in the order of pushing. True if there was something.
  bool run_all();

  /// Progress thread: between these two, whoever pushes or wakes makes wake_fd() readable. The first is false when
  /// there is work already.
  bool fall_asleep();
  void wake_up();
  int wake_fd() const { return wake_fd_; }

 private:
  std::atomic<job*> newest_{nullptr};
  std::atomic<bool> asleep_{false};
  int wake_fd_;
};

} // namespace troupe::net
