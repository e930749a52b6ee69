// The supervisor's actor: who is told what, and when processes are started. Time is moved by hand.
#include "actors/supervisor.hpp"

#include "tests/support/actor_fixture.hpp"

#include <boost/test/unit_test.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>

using namespace troupe;

namespace {

struct stage : test::actor_fixture {
  std::vector<std::string> started, given_up;
  std::vector<std::int64_t> killed;
  std::vector<cluster_view> views;
  supervisor_actor boss = system.spawn(supervisor, make_parts());
  view_listener_actor watcher = system.spawn([this](view_listener_actor::pointer) {
    return view_listener_actor::behavior_type{[this](const cluster_view& view) { views.push_back(view); }};
  });
  expert_shard_actor shard = system.spawn([](expert_shard_actor::pointer) {
    return expert_shard_actor::behavior_type{[](const dispatch_rows&) { return rows_done{}; },
                                             [](const dispatch_mapped&) { return mapped_done{}; }, [](report_atom) {},
                                             [](drain_atom) { return drained_atom_v; }};
  });

  supervisor_parts make_parts() {
    supervisor_parts parts;
    parts.roles = company_roles({.kv_caches = 1, .expert_shards = 1});
    parts.expert_count = 8;
    parts.start_process = [this](const std::string& name) { started.push_back(name); };
    parts.kill_process = [this](std::int64_t pid) { killed.push_back(pid); };
    parts.give_up = [this](const std::string& name) { given_up.push_back(name); };
    return parts;
  }

  role_assignment join(const std::string& name, std::int64_t pid) {
    role_assignment out;
    caf::scoped_actor self{system};
    const auto answer = self->request(boss, limits::rpc_timeout, join_cluster{name, pid});
    run();
    const_cast<std::decay_t<decltype(answer)>&>(answer).receive([&](role_assignment& a) { out = a; },
                                                                [](const caf::error&) { BOOST_ERROR("refused"); });
    return out;
  }

  template <class Message>
  void tell(Message message) {
    caf::anon_send(boss, std::move(message));
    run();
  }

  ~stage() {
    for (const auto& actor :
         {caf::actor_cast<caf::actor>(boss), caf::actor_cast<caf::actor>(watcher), caf::actor_cast<caf::actor>(shard)})
      caf::anon_send_exit(actor, caf::exit_reason::kill);
    run();
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(supervisor, stage)

BOOST_AUTO_TEST_CASE(watchers_see_a_role_when_it_is_ready_and_no_longer_when_it_drains) {
  tell(watch_cluster{watcher});
  const auto a = join("expert_shard-0", 11);
  tell(expert_shard_ready{a.process, a.shard, "sim", "", shard});
  BOOST_REQUIRE(!views.empty());
  BOOST_TEST(views.back().shards.size() == 1u);

  tell(role_draining{a.process});

  BOOST_TEST(views.back().shards.empty());
  BOOST_TEST(views.front().epoch < views.back().epoch);
}

BOOST_AUTO_TEST_CASE(watchers_learn_of_a_death_before_the_process_is_reaped) {
  tell(watch_cluster{watcher});
  const auto a = join("expert_shard-0", 11);
  tell(expert_shard_ready{a.process, a.shard, "sim", "", shard});

  caf::anon_send_exit(shard, caf::exit_reason::kill);
  run();

  BOOST_TEST(views.back().shards.empty());
  BOOST_TEST(started.empty(), "the process may still live");
}

BOOST_AUTO_TEST_CASE(a_dead_process_is_started_again_after_its_delay) {
  join("expert_shard-0", 11);

  tell(process_exited{"expert_shard-0", 11, 137});
  BOOST_TEST(started.empty());
  advance(2 * limits::restart_delay_min);

  BOOST_TEST(started == std::vector<std::string>{"expert_shard-0"}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_role_that_dies_too_often_ends_the_cluster) {
  for (int i = 0; i <= limits::restart_intensity; ++i) {
    join("expert_shard-0", 11 + i);
    tell(process_exited{"expert_shard-0", 11 + i, 1});
    advance(std::chrono::seconds(2));
  }

  BOOST_TEST(started.size() == std::size_t(limits::restart_intensity));
  BOOST_TEST(given_up == std::vector<std::string>{"expert_shard-0"}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_role_that_falls_silent_is_killed) {
  const auto a = join("expert_shard-0", 11);
  tell(expert_shard_ready{a.process, a.shard, "sim", "", shard});

  for (auto waited = std::chrono::seconds(0); waited <= limits::health_patience; waited += std::chrono::seconds(1))
    advance(std::chrono::seconds(1));

  BOOST_TEST(killed == std::vector<std::int64_t>{11}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
