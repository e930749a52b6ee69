// The kv_cache's actor over the sim engine, attached and with time standing still.
#include "actors/kv_cache.hpp"

#include "runtime/exec/local_expert_client.hpp"
#include "runtime/exec/sim_engine.hpp"
#include "tests/support/actor_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <caf/send.hpp>

#include <numeric>

using namespace troupe;

namespace {

/// The experts of the sim model, which are away as long as `away` is set.
class absent_experts final : public exec::expert_client {
 public:
  explicit absent_experts(const exec::sim_model& model, const bool& away) : away_(away) {
    std::vector<expert_index> all(static_cast<std::size_t>(model.expert_count));
    std::iota(all.begin(), all.end(), 0);
    std::vector<std::unique_ptr<exec::expert_engine>> engines;
    engines.push_back(std::make_unique<exec::sim_expert_engine>(model, all));
    present_ = std::make_unique<exec::local_expert_client>(
        std::move(engines), moe::place_evenly(model.expert_count, 1, 1), model.hidden_size, moe::element::f32);
  }

  result<void> start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) override {
    if (away_) return error{errc::disconnected, "away"};
    return present_->start(layer, choice, inputs);
  }
  result<void> finish(std::span<float> out) override { return present_->finish(out); }

 private:
  const bool& away_;
  std::unique_ptr<exec::expert_client> present_;
};

struct stage : test::actor_fixture {
  exec::sim_model model;
  bool away = false;
  std::vector<token_event> events;
  std::vector<role_progress> reports;
  supervisor_actor boss = system.spawn([this](supervisor_actor::pointer) -> supervisor_actor::behavior_type {
    return {[](const join_cluster&) { return role_assignment{}; },
            [](const role_ready&) {},
            [](const kv_cache_ready&) {},
            [](const expert_shard_ready&) {},
            [this](const role_progress& report) { reports.push_back(report); },
            [](const role_draining&) { return drained_atom_v; },
            [](const process_exited&) {},
            [](const watch_cluster&) {},
            [](retry_atom) {},
            [](report_atom) {},
            [](get_status_atom) { return cluster_status{}; },
            [](drain_atom) { return drained_atom_v; }};
  });
  token_listener_actor owner = system.spawn([this](token_listener_actor::pointer) {
    return token_listener_actor::behavior_type{
        [this](const tokens_emitted& m) { events.insert(events.end(), m.events.begin(), m.events.end()); }};
  });
  kv_cache_actor cache = system.spawn(kv_cache, make_parts());

  std::shared_ptr<kv_cache_parts> make_parts() {
    auto parts = std::make_shared<kv_cache_parts>();
    parts->process = process_id{7};
    parts->supervisor = boss;
    parts->engine = std::make_unique<exec::sim_engine>(model, 64);
    parts->experts = std::make_unique<absent_experts>(model, away);
    parts->options.sampling = {model.vocab_size, {}};
    return parts;
  }

  generation_request request(std::uint64_t id, int max_tokens) {
    generation_request r;
    r.id = request_id{id};
    r.prompt = {1, 2, 3};
    r.sampling.max_tokens = max_tokens;
    return r;
  }

  void admit(generation_request r) { caf::anon_send(cache, admit_request{std::move(r), owner}); }

  std::vector<token_id> tokens() const {
    std::vector<token_id> out;
    for (const auto& event : events) out.push_back(event.token);
    return out;
  }

  ~stage() {
    for (const auto& actor :
         {caf::actor_cast<caf::actor>(cache), caf::actor_cast<caf::actor>(owner), caf::actor_cast<caf::actor>(boss)})
      caf::anon_send_exit(actor, caf::exit_reason::kill);
    run();
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(kv_cache, stage)

BOOST_AUTO_TEST_CASE(a_request_is_stepped_to_its_end_without_being_asked_again) {
  const auto r = request(1, 12);

  admit(r);
  run();

  const auto expected = exec::sim_oracle(model, r, {model.vocab_size, {}});
  BOOST_TEST(tokens() == expected, boost::test_tools::per_element());
  BOOST_TEST(int(events.back().finish) == int(finish_reason::length));
}

BOOST_AUTO_TEST_CASE(a_request_it_cannot_take_ends_as_failed) {
  admit(request(1, 100'000));
  run();

  BOOST_REQUIRE(events.size() == 1u);
  BOOST_TEST(int(events[0].finish) == int(finish_reason::failed));
}

BOOST_AUTO_TEST_CASE(cancel_takes_effect_before_the_next_step) {
  admit(request(1, 1000));
  caf::anon_send(cache, cancel_request{request_id{1}});
  run();

  BOOST_TEST(events.size() <= 2u, "at most the step that was under way");
}

BOOST_AUTO_TEST_CASE(a_request_taken_over_goes_on_behind_its_output) {
  const auto whole = exec::sim_oracle(model, request(1, 12), {model.vocab_size, {}});
  auto rest = request(1, 12);
  rest.output.assign(whole.begin(), whole.begin() + 5);

  admit(rest);
  run();

  BOOST_TEST(events.front().index == 5);
  BOOST_TEST(tokens() == std::vector<token_id>(whole.begin() + 5, whole.end()), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(experts_that_stay_away_for_a_while_cost_no_token) {
  const auto r = request(1, 12);
  away = true;
  admit(r);
  run_some(20);
  BOOST_TEST(events.empty());

  away = false;
  run();

  const auto expected = exec::sim_oracle(model, r, {model.vocab_size, {}});
  BOOST_TEST(tokens() == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(requests_fail_when_their_experts_stay_away_longer_than_dispatch_timeout) {
  away = true;
  admit(request(1, 12));
  run_some(20);
  move_time(limits::dispatch_timeout);

  run();

  BOOST_REQUIRE(events.size() == 1u);
  BOOST_TEST(int(events[0].finish) == int(finish_reason::failed));
}

BOOST_AUTO_TEST_CASE(progress_is_reported_at_every_heartbeat) {
  admit(request(1, 12));
  run();
  advance(limits::heartbeat_interval);

  BOOST_REQUIRE(reports.size() >= 2u);
  BOOST_TEST(reports.back().process.value == 7u);
  BOOST_TEST(reports.back().report.steps > 0u);
}

BOOST_AUTO_TEST_SUITE_END()
