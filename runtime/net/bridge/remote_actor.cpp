#include "runtime/net/bridge/remote_actor.hpp"

#include "runtime/net/bridge/bridge.hpp"

#include <caf/detail/sync_request_bouncer.hpp>
#include <caf/system_messages.hpp>

namespace troupe::net {

remote_actor_proxy::remote_actor_proxy(caf::actor_config& config, bridge& owner, neighbour_ptr home)
    : actor_proxy(config), owner_(owner), home_(std::move(home)) {}

void remote_actor_proxy::enqueue(caf::mailbox_element_ptr what, caf::execution_unit*) {
  if (getf(is_terminated_flag)) return caf::detail::sync_request_bouncer{caf::exit_reason::unknown}(*what);
  if (what->content().match_elements<caf::exit_msg>()) unlink_from(what->content().get_as<caf::exit_msg>(0).source);
  owner_.send_message(home_, id(), std::move(what));
}

bool remote_actor_proxy::add_backlink(caf::abstract_actor* x) {
  if (!actor_proxy::add_backlink(x)) return false;
  owner_.send_link(message_kind::link, home_, caf::strong_actor_ptr(x->ctrl()), id());
  return true;
}

bool remote_actor_proxy::remove_backlink(caf::abstract_actor* x) {
  if (!actor_proxy::remove_backlink(x)) return false;
  owner_.send_link(message_kind::unlink, home_, caf::strong_actor_ptr(x->ctrl()), id());
  return true;
}

void remote_actor_proxy::kill_proxy(caf::execution_unit* context, caf::error reason) {
  cleanup(std::move(reason), context);
}

} // namespace troupe::net
