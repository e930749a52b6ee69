#include "runtime/net/liveness.hpp"

namespace troupe::net {

void liveness::on_sign(time_point now) { last_sign_ = std::max(last_sign_, now); }

liveness::verdict liveness::tick(time_point now) {
  if (lost_) return verdict::lost;
  const auto since = now - std::max(last_tick_, last_sign_); // a sign after the last tick settles all before it
  if (since > tick_max()) {
    last_sign_ += since - tick_max();
    last_ping_ = std::min(last_ping_, now - how_.ping_interval); // whatever we asked before, ask again
  }
  last_tick_ = now;
  if (now >= lost_due()) {
    lost_ = true;
    return verdict::lost;
  }
  if (now < ping_due()) return verdict::wait;
  last_ping_ = now;
  return verdict::ping;
}

time_point liveness::next_tick() const { return lost_ ? last_tick_ : std::min(ping_due(), lost_due()); }

} // namespace troupe::net
