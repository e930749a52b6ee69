// Actors under CAF's testing scheduler: nothing runs until run(), time stands still until advance().
#pragma once

#include "actors/system_config.hpp"

#include <caf/actor_system.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>

#include <chrono>

namespace troupe::test {

class actor_fixture {
 public:
  /// Runs actors until no message is left.
  void run() { scheduler().run(); }

  /// Handles so many messages, for actors that never come to rest.
  void run_some(int count) {
    while (count-- > 0 && scheduler().try_run_once()) {
    }
  }
  /// Moves time; what becomes due waits in the mailboxes.
  void move_time(std::chrono::milliseconds by) { scheduler().advance_time(by); }
  /// Moves time, then runs what has become due.
  void advance(std::chrono::milliseconds by) {
    move_time(by);
    run();
  }

  struct testing_config : system_config {
    testing_config() : system_config(reach::this_process) { set("scheduler.policy", caf::atom("testing")); }
  };
  testing_config config;
  caf::actor_system system{config};

 private:
  caf::scheduler::test_coordinator& scheduler() {
    return dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler());
  }
};

} // namespace troupe::test
