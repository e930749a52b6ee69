// Timeouts of actors by the transport's timer wheel. CAF has a thread for them, which every timed request wakes twice;
// here a request costs two entries in a map, and almost never a timer.
#pragma once

#include "runtime/core/clock.hpp"
#include "runtime/net/transport.hpp"

#include <caf/actor_system.hpp>
#include <caf/detail/thread_safe_actor_clock.hpp>
#include <caf/policy/work_sharing.hpp>
#include <caf/scheduler/coordinator.hpp>

#include <memory>
#include <mutex>

namespace troupe::net {

/// CAF's own bookkeeping under a lock, woken by one timer: for the earliest deadline, if none is set that is early
/// enough. Derives from the thread-safe clock because the coordinator's interface asks for one; its thread sleeps.
class progress_clock final : public caf::detail::thread_safe_actor_clock {
 public:
  explicit progress_clock(std::shared_ptr<transport> wire) : wire_(std::move(wire)) {}

  void set_ordinary_timeout(time_point when, caf::abstract_actor* self, caf::atom_value type,
                            std::uint64_t id) override;
  void set_request_timeout(time_point when, caf::abstract_actor* self, caf::message_id id) override;
  void set_multi_timeout(time_point when, caf::abstract_actor* self, caf::atom_value type, std::uint64_t id) override;
  void cancel_ordinary_timeout(caf::abstract_actor* self, caf::atom_value type) override;
  void cancel_request_timeout(caf::abstract_actor* self, caf::message_id id) override;
  void cancel_timeouts(caf::abstract_actor* self) override;
  void schedule_message(time_point when, caf::strong_actor_ptr receiver, caf::mailbox_element_ptr content) override;
  void schedule_message(time_point when, caf::group target, caf::strong_actor_ptr sender,
                        caf::message content) override;
  void cancel_all() override;

 private:
  void arm();
  void expire();

  std::shared_ptr<transport> wire_;
  std::recursive_mutex mutex_; ///< what expires may set other timeouts
  time_point armed_ = time_point::max();
};

/// CAF's scheduler of policy `sharing` with this clock.
class progress_coordinator final : public caf::scheduler::coordinator<caf::policy::work_sharing> {
 public:
  progress_coordinator(caf::actor_system& system, std::shared_ptr<transport> wire)
      : coordinator(system), clock_(std::move(wire)) {}

  progress_clock& clock() noexcept override { return clock_; }

  /// Whatever is still set holds its actor, and ~actor_system waits until nobody holds a detached one.
  void stop() override {
    coordinator::stop();
    clock_.cancel_all();
  }

 private:
  progress_clock clock_;
};

} // namespace troupe::net
