#include "runtime/net/bridge/progress_clock.hpp"

#include <caf/group.hpp>

namespace troupe::net {

using book = caf::detail::simple_actor_clock;

void progress_clock::set_ordinary_timeout(time_point when, caf::abstract_actor* self, caf::atom_value type,
                                          std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  book::set_ordinary_timeout(when, self, type, id);
  arm();
}

void progress_clock::set_request_timeout(time_point when, caf::abstract_actor* self, caf::message_id id) {
  const std::lock_guard lock(mutex_);
  book::set_request_timeout(when, self, id);
  arm();
}

void progress_clock::set_multi_timeout(time_point when, caf::abstract_actor* self, caf::atom_value type,
                                       std::uint64_t id) {
  const std::lock_guard lock(mutex_);
  book::set_multi_timeout(when, self, type, id);
  arm();
}

void progress_clock::cancel_ordinary_timeout(caf::abstract_actor* self, caf::atom_value type) {
  const std::lock_guard lock(mutex_);
  book::cancel_ordinary_timeout(self, type);
}

void progress_clock::cancel_request_timeout(caf::abstract_actor* self, caf::message_id id) {
  const std::lock_guard lock(mutex_);
  book::cancel_request_timeout(self, id);
}

void progress_clock::cancel_timeouts(caf::abstract_actor* self) {
  const std::lock_guard lock(mutex_);
  book::cancel_timeouts(self);
}

void progress_clock::schedule_message(time_point when, caf::strong_actor_ptr receiver,
                                      caf::mailbox_element_ptr content) {
  const std::lock_guard lock(mutex_);
  book::schedule_message(when, std::move(receiver), std::move(content));
  arm();
}

void progress_clock::schedule_message(time_point when, caf::group target, caf::strong_actor_ptr sender,
                                      caf::message content) {
  const std::lock_guard lock(mutex_);
  book::schedule_message(when, std::move(target), std::move(sender), std::move(content));
  arm();
}

void progress_clock::cancel_all() {
  const std::lock_guard lock(mutex_);
  book::cancel_all();
}

/// A timer that comes too early is cheap (a deadline was cancelled); one that is missing would be fatal.
void progress_clock::arm() {
  if (schedule().empty() || schedule().begin()->first >= armed_) return;
  armed_ = schedule().begin()->first;
  wire_->post_at(armed_, [this] { expire(); });
}

void progress_clock::expire() {
  const std::lock_guard lock(mutex_);
  if (clock::now() < armed_) return; // of an earlier arming; the one for `armed_` is still to come
  armed_ = time_point::max();
  trigger_expired_timeouts();
  arm();
}

} // namespace troupe::net
