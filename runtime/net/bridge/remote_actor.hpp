// The local stand-in of an actor in another process: turns what is enqueued into frames, in the sender's thread.
#pragma once

#include "runtime/net/bridge/neighbour.hpp"

#include <caf/actor_proxy.hpp>

namespace troupe::net {

class bridge;

/// Ends when the remote actor or its process does: then monitors and links are told, and requests bounce.
class remote_actor_proxy final : public caf::actor_proxy {
 public:
  remote_actor_proxy(caf::actor_config& config, bridge& owner, neighbour_ptr home);

  void enqueue(caf::mailbox_element_ptr what, caf::execution_unit* context) override;
  /// Both run inside critical sections of `x` and of this: the rest is left to the progress thread.
  bool add_backlink(caf::abstract_actor* x) override;
  bool remove_backlink(caf::abstract_actor* x) override;
  void kill_proxy(caf::execution_unit* context, caf::error reason) override;
  const char* name() const override { return "remote_actor"; }

 private:
  bridge& owner_;
  neighbour_ptr home_;
};

} // namespace troupe::net
