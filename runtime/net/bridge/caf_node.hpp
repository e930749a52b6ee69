// CAF 0.17.6 declares net::middleman, makes it a friend of actor_system, keeps a module slot for it, and never defines
// it. So it may be defined here: the only way to name a node without loading caf_io.
#pragma once

#include <caf/actor_system.hpp>
#include <caf/node_id.hpp>

namespace caf::net {

class middleman : public actor_system::module {
 public:
  id_t id() const override { return network_manager; }

 protected:
  static void name_node(actor_system& system, node_id name) { system.node_ = std::move(name); }
};

} // namespace caf::net
