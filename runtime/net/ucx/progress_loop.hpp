// The one thread of a transport: jobs, run_some(), sends, receives, timers, sockets; then it spins for a while, and
// sleeps until something happens.
//
//   run_some ─▶ jobs ─▶ flush ─▶ progress ─▶ flush ─▶ (now and then: timers, sockets) ─▶ idle? spin, then sleep
#pragma once

#include "runtime/net/spin_budget.hpp"
#include "runtime/net/ucx/receiver.hpp"

#include <boost/asio/posix/stream_descriptor.hpp>

#include <functional>

namespace troupe::net {

class progress_loop {
 public:
  struct options {
    int spin_rounds; ///< looks at the wire without work before it sleeps; negative: never sleeps
    int cpu;         ///< to run on; negative: any
  };

  progress_loop(connections::parts with, connections& peers, options how, time_point& now);

  /// Until leave() has been called and everybody has gone, or limits::rpc_timeout has passed.
  void run();
  /// From a job.
  void leave();

 private:
  bool round();
  bool poll(int times);
  void tick();
  duration sleep();
  void flush();
  void wait_for(boost::asio::posix::stream_descriptor& descriptor, bool& waiting);

  connections::parts with_;
  connections& peers_;
  spin_budget spin_;
  options how_;
  time_point& now_;
  boost::asio::posix::stream_descriptor ucx_events_;
  boost::asio::posix::stream_descriptor wakes_;
  bool waits_for_ucx_ = false;
  bool waits_for_wakes_ = false;
  int rounds_since_tick_ = 0;
  int ticks_ = 0;                              ///< since it looked at the sockets
  time_point leave_until_ = time_point::max(); ///< set once it leaves
  bool gone_ = false;
};

} // namespace troupe::net
