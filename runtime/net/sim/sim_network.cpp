#include "runtime/net/sim/sim_network.hpp"

#include "runtime/net/sim/sim_node.hpp"

namespace troupe::net {

sim_network::sim_network(std::uint64_t seed, sim_rules rules) : state_(std::make_shared<state>(seed, rules)) {}
sim_network::~sim_network() = default;

std::unique_ptr<transport> sim_network::make_transport() {
  const std::lock_guard lock(state_->mutex);
  const auto number = static_cast<std::uint32_t>(state_->members.size());
  const auto name = std::to_string(number + 1);
  state_->members.push_back({.uri = "sim://host:" + name + "/" + name});
  return std::make_unique<node>(state_, number);
}

void sim_network::run_until_idle() { state_->time.run_until_idle(); }
void sim_network::advance(duration by) { state_->time.advance(by); }
void sim_network::run_in_background() { state_->time.run_in_background(); }
time_point sim_network::now() const { return state_->time.now(); }

sim_counts sim_network::counts() const {
  const std::lock_guard lock(state_->mutex);
  return state_->counts;
}

void sim_network::part(const transport& a, const transport& b) {
  const std::lock_guard lock(state_->mutex);
  const auto pair = state::pair_of(static_cast<const node&>(a).number(), static_cast<const node&>(b).number());
  const auto parting = ++state_->partings;
  state_->apart[pair] = parting;
  state_->time.at(state_->time.now() + limits::ping_timeout, [net = state_.get(), pair, parting] {
    std::vector<side_ptr> lost;
    {
      const std::lock_guard inner(net->mutex);
      if (const auto still = net->apart.find(pair); still == net->apart.end() || still->second != parting) return;
      for (const auto& s : net->members[pair.first].sides)
        if (const auto other = s->other.lock(); other && other->node == pair.second && s->state == link_state::up)
          lost.insert(lost.end(), {s, other});
    }
    for (const auto& s : lost) net->lose(s, s->uri + " is silent");
  });
}

void sim_network::heal(const transport& a, const transport& b) {
  const std::lock_guard lock(state_->mutex);
  state_->apart.erase(state::pair_of(static_cast<const node&>(a).number(), static_cast<const node&>(b).number()));
}

void sim_network::kill(const transport& whom) {
  state_->time.between_tasks([&] {
    const std::lock_guard lock(state_->mutex);
    state_->leave(static_cast<const node&>(whom).number(), whom.uri() + " has died");
  });
}

} // namespace troupe::net
