#include "actors/system_config.hpp"

#include "actors/codec/message_codecs.hpp"
#include "actors/gateways/job_messages.hpp"
#include "actors/interfaces.hpp"

#include <caf/atom.hpp>

#include <stdexcept>

namespace troupe {

system_config::system_config(reach peers, std::size_t threads, const net::carrier_options& listen) {
  add_message_types<caf::id_block::troupe>();
  add_message_types<caf::id_block::troupe_jobs>();
  set("scheduler.policy", caf::atom("sharing"));
  set("scheduler.max-threads", threads);
  if (peers == reach::this_process) return;
  if (const auto ready = net::configure_carrier(*this, listen, message_codecs()); !ready)
    throw std::runtime_error(ready.error().message);
}

} // namespace troupe
