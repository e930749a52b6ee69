#include "actors/router_service.hpp"

#include "runtime/core/clock.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <chrono>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace troupe {

/// The sinks of open requests. close() returns only when no call of the sink is under way, except from within it.
class sink_table {
 public:
  void open(request_id id, token_sink sink) {
    const std::scoped_lock lock(mutex_);
    entries_.emplace(id, std::make_shared<entry>(std::move(sink)));
  }

  void close(request_id id) {
    const auto found = take(id);
    if (!found) return;
    const std::scoped_lock lock(found->mutex);
    found->closed = true;
  }

  void deliver(const token_event& event) {
    const auto found = find(event.id);
    if (!found) return;
    const std::scoped_lock lock(found->mutex);
    if (!found->closed) found->sink(event);
    if (event.finish != finish_reason::none) take(event.id);
  }

 private:
  struct entry {
    explicit entry(token_sink s) : sink(std::move(s)) {}
    std::recursive_mutex mutex; // recursive: a sink may cancel its own request
    token_sink sink;
    bool closed = false;
  };

  std::shared_ptr<entry> find(request_id id) {
    const std::scoped_lock lock(mutex_);
    const auto it = entries_.find(id);
    return it == entries_.end() ? nullptr : it->second;
  }

  std::shared_ptr<entry> take(request_id id) {
    const std::scoped_lock lock(mutex_);
    const auto node = entries_.extract(id);
    return node ? node.mapped() : nullptr;
  }

  std::mutex mutex_;
  std::unordered_map<request_id, std::shared_ptr<entry>> entries_;
};

namespace {

token_listener_actor::behavior_type sink_listener(token_listener_actor::pointer, std::shared_ptr<sink_table> sinks) {
  return {
      [sinks](const tokens_emitted& message) {
        for (const auto& event : message.events) sinks->deliver(event);
      },
  };
}

/// Ids of two lives of a router never meet: seconds since 1970 above, a counter below.
std::uint64_t first_id() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count()) << 32;
}

} // namespace

router_service::router_service(caf::actor_system& system, router_actor router, supervisor_actor supervisor)
    : system_(system), router_(std::move(router)), supervisor_(std::move(supervisor)),
      sinks_(std::make_shared<sink_table>()), listener_(system.spawn(sink_listener, sinks_)), next_id_(first_id()) {}

router_service::~router_service() { caf::anon_send_exit(listener_, caf::exit_reason::user_shutdown); }

result<void> router_service::submit(generation_request request, token_sink sink) {
  const auto id = request.id;
  sinks_->open(id, std::move(sink));
  admission answer{false, errc::disconnected, "the router does not answer", 0};
  caf::scoped_actor self{system_};
  self->request(router_, limits::rpc_timeout, submit_request{std::move(request), listener_})
      .receive([&](admission& a) { answer = std::move(a); }, [](const caf::error&) {});
  if (answer.accepted) return {};
  cancel(id);
  return error{answer.code, std::move(answer.why), answer.retry_after_s};
}

void router_service::cancel(request_id id) {
  sinks_->close(id);
  caf::anon_send(router_, cancel_request{id});
}

request_id router_service::next_id() { return request_id{next_id_.fetch_add(1)}; }

cluster_status router_service::status() {
  cluster_status out;
  caf::scoped_actor self{system_};
  self->request(supervisor_, limits::rpc_timeout, get_status_atom_v)
      .receive([&](cluster_status& s) { out = std::move(s); }, [](const caf::error&) {});
  return out;
}

} // namespace troupe
