#include "actors/supervisor_core.hpp"

#include "runtime/core/limits.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;

namespace {

const time_point t0{};
constexpr double no_jitter = 0.5;

supervisor_core four_roles() { return supervisor_core(company_roles({.kv_caches = 1, .expert_shards = 2}), 16); }

} // namespace

BOOST_AUTO_TEST_SUITE(supervisor_core)

BOOST_AUTO_TEST_CASE(experts_are_placed_evenly_and_each_shard_learns_its_number) {
  auto core = four_roles();

  const auto second = core.join("expert_shard-1", 11, t0);

  BOOST_REQUIRE(second);
  BOOST_TEST(second->shard.value == 1u);
  BOOST_TEST(core.placement().experts_of(shard_id{1}).front() == 8);
  BOOST_TEST(core.placement().experts_of(shard_id{1}).size() == 8u);
}

BOOST_AUTO_TEST_CASE(a_name_the_recipe_does_not_have_is_refused) {
  auto core = four_roles();

  const auto stranger = core.join("expert_shard-7", 11, t0);

  BOOST_REQUIRE(!stranger);
  BOOST_TEST(int(stranger.error().code) == int(errc::not_found));
}

BOOST_AUTO_TEST_CASE(the_cluster_is_ready_when_every_role_is) {
  auto core = four_roles();
  std::int64_t pid = 10;
  for (const char* name : {"router-0", "kv_cache-0", "expert_shard-0", "expert_shard-1"}) {
    BOOST_TEST(!core.status(t0).ready);
    const auto joined = core.join(name, ++pid, t0);
    BOOST_REQUIRE(joined);
    core.ready(joined->process, "cpu", t0);
  }

  BOOST_TEST(core.status(t0).ready);
  core.stop();
  BOOST_TEST(!core.status(t0).ready);
}

BOOST_AUTO_TEST_CASE(a_lost_connection_changes_the_view_at_once_and_the_exit_starts_a_successor) {
  auto core = four_roles();
  const auto joined = core.join("expert_shard-0", 11, t0);
  core.ready(joined->process, "cpu", t0);
  const auto epoch = core.epoch();

  core.disconnected(joined->process, t0);

  BOOST_TEST(core.epoch() > epoch);
  BOOST_TEST(!core.is_ready(joined->process));
  const auto decision = core.exited("expert_shard-0", 11, t0, no_jitter);
  BOOST_TEST((decision.restart_at == t0 + limits::restart_delay_min));
}

BOOST_AUTO_TEST_CASE(a_role_that_was_asked_to_leave_is_started_again_at_once) {
  auto core = four_roles();
  const auto joined = core.join("kv_cache-0", 11, t0);
  core.ready(joined->process, "cpu", t0);

  core.draining(joined->process, t0);

  BOOST_TEST(!core.is_ready(joined->process));
  BOOST_TEST((core.exited("kv_cache-0", 11, t0, no_jitter).restart_at == t0));
}

BOOST_AUTO_TEST_CASE(a_role_that_dies_too_often_is_given_up) {
  auto core = four_roles();
  for (int i = 0; i < limits::restart_intensity; ++i) {
    BOOST_REQUIRE(core.join("kv_cache-0", 20 + i, t0));
    BOOST_TEST(core.exited("kv_cache-0", 20 + i, t0, no_jitter).restart_at.has_value());
  }
  BOOST_REQUIRE(core.join("kv_cache-0", 30, t0));

  const auto decision = core.exited("kv_cache-0", 30, t0, no_jitter);

  BOOST_TEST(!decision.restart_at.has_value());
  BOOST_TEST(decision.give_up);
  BOOST_TEST(core.status(t0).roles[1].state == "failed");
}

BOOST_AUTO_TEST_CASE(the_end_of_a_replaced_process_starts_nobody) {
  auto core = four_roles();
  BOOST_REQUIRE(core.join("kv_cache-0", 11, t0));
  BOOST_REQUIRE(core.join("kv_cache-0", 12, t0));

  BOOST_TEST(!core.exited("kv_cache-0", 11, t0, no_jitter).restart_at.has_value());
}

BOOST_AUTO_TEST_CASE(nobody_is_started_again_once_the_cluster_stops) {
  auto core = four_roles();
  BOOST_REQUIRE(core.join("kv_cache-0", 11, t0));

  core.stop();

  BOOST_TEST(!core.exited("kv_cache-0", 11, t0, no_jitter).restart_at.has_value());
}

BOOST_AUTO_TEST_CASE(a_role_with_work_that_does_not_move_is_named_for_killing) {
  auto core = four_roles();
  const auto joined = core.join("kv_cache-0", 11, t0);
  core.ready(joined->process, "cpu", t0);
  core.progress(joined->process, {.steps = 5, .running = 1}, t0);
  const auto later = t0 + limits::health_patience + std::chrono::seconds(1);
  core.progress(joined->process, {.steps = 5, .running = 1}, later);

  BOOST_TEST(core.status(later).roles[1].step_age_ms >= 60'000);
  BOOST_TEST(core.expire(later) == std::vector<std::int64_t>{11}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
