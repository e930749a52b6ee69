#include "actors/gateways/job_client.hpp"

#include "actors/gateways/rpc_error.hpp"
#include "actors/system_config.hpp"
#include "runtime/core/limits.hpp"
#include "runtime/net/carrier.hpp"

#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>

#include <utility>

namespace troupe {

struct job_client::state {
  template <class Answer, class Message>
  result<Answer> ask(Message message) {
    result<Answer> out = error{errc::disconnected, "the server does not answer"};
    caf::scoped_actor self{system};
    self->request(gateway, limits::rpc_timeout, std::move(message))
        .receive([&](Answer& answer) { out = std::move(answer); },
                 [&](const caf::error& e) { out = from_rpc_error(e); });
    return out;
  }

  system_config config{reach::network};
  caf::actor_system system{config};
  net::carrier carrier{system};
  job_gateway_actor gateway;
};

result<job_client> job_client::connect(const std::string& address) {
  auto made = std::make_unique<state>();
  TROUPE_ASSIGN(const auto peer, made->carrier.connect(address));
  made->gateway = caf::actor_cast<job_gateway_actor>(peer);
  return job_client(std::move(made));
}

result<job_progress> job_client::submit(std::vector<std::string> lines) {
  return state_->ask<job_progress>(submit_job{std::move(lines)});
}

result<job_progress> job_client::progress(std::uint64_t job) { return state_->ask<job_progress>(get_job{job}); }

result<job_progress> job_client::cancel(std::uint64_t job) { return state_->ask<job_progress>(cancel_job{job}); }

result<job_results> job_client::results(std::uint64_t job, std::uint64_t from) {
  return state_->ask<job_results>(fetch_results{job, from});
}

job_client::job_client(std::unique_ptr<state> s) : state_(std::move(s)) {}
job_client::job_client(job_client&&) noexcept = default;
job_client& job_client::operator=(job_client&&) noexcept = default;
job_client::~job_client() = default;

} // namespace troupe
