// Children of process 0: one per role. All calls come from one thread, the one that lives as long as the process, since
// the kernel ties "die with your parent" to the thread that forked.
#pragma once

#include "runtime/core/result.hpp"

#include <sys/types.h>

#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

namespace troupe::launch {

class process_host {
 public:
  struct ended {
    std::string name;
    pid_t pid = 0;
    int status = 0; ///< exit code, or 128 + signal
  };

  /// Runs this binary again with `arguments`, by the words of `command` if there are some (which get its path).
  /// Errors: bug when the system cannot start it.
  result<pid_t> start(const std::string& name, const std::vector<std::string>& arguments,
                      const std::string& command = {});

  /// Collects children that have ended; call it on SIGCHLD.
  std::vector<ended> reap();

  void signal_all(int signal) const;
  /// Only signals a living child of ours.
  void signal(pid_t pid, int signal) const;
  bool empty() const { return children_.empty(); }

 private:
  std::map<pid_t, std::string> children_;
};

/// In the child, first thing: end with the parent. Ends at once if the parent is gone already.
void die_with_parent(pid_t parent);

/// From now on these signals end this process at once, with status 0, until somebody handles them otherwise: while
/// weights are loaded there is nothing to drain.
void leave_at_once_on(std::initializer_list<int> signals);

/// In the child, as soon as it handles SIGTERM: process_host starts it with the signal held back, so that none is lost.
void accept_sigterm();

} // namespace troupe::launch
