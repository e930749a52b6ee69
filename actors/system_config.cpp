#include "actors/system_config.hpp"

#include "actors/gateways/job_messages.hpp"
#include "actors/interfaces.hpp"
#include "runtime/net/carrier.hpp"

#include <caf/atom.hpp>

namespace troupe {

system_config::system_config(reach peers, std::size_t threads) {
  add_message_types<caf::id_block::troupe>();
  add_message_types<caf::id_block::troupe_jobs>();
  set("scheduler.policy", caf::atom("sharing"));
  set("scheduler.max-threads", threads);
  if (peers == reach::network) net::configure_carrier(*this);
}

} // namespace troupe
