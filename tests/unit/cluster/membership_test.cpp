#include "runtime/cluster/membership.hpp"

#include "runtime/core/limits.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::cluster;
using namespace std::chrono_literals;

namespace {

const time_point start{};
const std::vector<expected_role> recipe{{role_kind::router, "router-0", {}},
                                        {role_kind::kv_cache, "kv_cache-0", {}},
                                        {role_kind::expert_shard, "expert_shard-0", shard_id{0}}};

progress_report working(std::uint64_t steps) { return {.steps = steps, .running = 1}; }

} // namespace

BOOST_AUTO_TEST_SUITE(membership)

BOOST_AUTO_TEST_CASE(is_complete_when_every_place_is_filled_and_ready) {
  cluster::membership view(recipe);
  std::vector<process_id> all;
  for (const auto& role : recipe) all.push_back(view.join(role.name, 100, start).value());
  for (const auto process : all) {
    BOOST_TEST(!view.complete());
    view.set_ready(process, "cpu", start).value();
  }

  BOOST_TEST(view.complete());
  BOOST_TEST(view.epoch() == 4u);
  BOOST_TEST(view.ready(role_kind::expert_shard).size() == 1u);
}

BOOST_AUTO_TEST_CASE(refuses_a_name_that_nobody_expects) {
  cluster::membership view(recipe);
  BOOST_TEST((view.join("expert_shard-7", 1, start).error().code == errc::not_found));
}

BOOST_AUTO_TEST_CASE(a_replacement_has_a_new_id_and_its_predecessor_is_refused) {
  cluster::membership view(recipe);
  const auto first = view.join("kv_cache-0", 100, start).value();
  view.set_ready(first, "cpu", start).value();
  BOOST_TEST((view.exited("kv_cache-0", 100, start) == first));
  BOOST_TEST(!view.exited("kv_cache-0", 100, start));

  const auto second = view.join("kv_cache-0", 101, start).value();

  BOOST_TEST((second != first));
  BOOST_TEST(!view.set_progress(first, working(1), start));
  BOOST_TEST(!view.set_ready(first, "cpu", start));
  BOOST_TEST(view.find(second)->restarts == 1u);
  BOOST_TEST(view.members().size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_late_exit_does_not_hit_the_replacement) {
  cluster::membership view(recipe);
  view.join("kv_cache-0", 100, start).value();
  const auto second = view.join("kv_cache-0", 101, start).value();

  BOOST_TEST(!view.exited("kv_cache-0", 100, start));
  BOOST_TEST((view.find(second)->state == member_state::starting));
}

BOOST_AUTO_TEST_CASE(the_epoch_grows_only_when_the_ready_set_changes) {
  cluster::membership view(recipe);
  const auto process = view.join("router-0", 1, start).value();
  BOOST_TEST(view.epoch() == 1u);
  view.set_ready(process, "", start).value();
  view.set_ready(process, "", start).value();
  view.set_progress(process, working(1), start).value();
  BOOST_TEST(view.epoch() == 2u);
  view.set_draining(process, start).value();
  view.set_draining(process, start).value();
  BOOST_TEST(view.epoch() == 3u);
  view.exited("router-0", 1, start);
  BOOST_TEST(view.epoch() == 3u);
}

BOOST_AUTO_TEST_CASE(a_member_that_reports_but_does_not_advance_is_lost) {
  cluster::membership view(recipe);
  const auto process = view.join("kv_cache-0", 1, start).value();
  view.set_ready(process, "cpu", start).value();
  view.set_progress(process, working(5), start).value();
  auto now = start;
  for (; now < start + limits::health_patience; now += 500ms) {
    view.set_progress(process, working(5), now).value();
    BOOST_TEST(view.expire(now).empty());
  }
  BOOST_TEST((view.step_age(*view.find(process), now) == limits::health_patience));

  const auto lost = view.expire(now + 1ms);

  BOOST_REQUIRE(lost.size() == 1u);
  BOOST_TEST((lost[0] == process));
  BOOST_TEST(view.expire(now + 2ms).empty());
}

BOOST_AUTO_TEST_CASE(an_idle_or_advancing_member_is_healthy_for_ever) {
  cluster::membership view(recipe);
  const auto idle = view.join("router-0", 1, start).value();
  const auto busy = view.join("kv_cache-0", 2, start).value();
  for (const auto process : {idle, busy}) view.set_ready(process, "cpu", start).value();

  for (std::uint64_t i = 0; i < 1000; ++i) {
    const auto now = start + i * 1s;
    view.set_progress(idle, {}, now).value();
    view.set_progress(busy, working(i), now).value();
    BOOST_TEST(view.expire(now).empty());
  }
  BOOST_TEST((view.step_age(*view.find(idle), start + 5000s) == 0s));
}

BOOST_AUTO_TEST_CASE(work_after_a_long_idle_time_starts_the_clock_anew) {
  cluster::membership view(recipe);
  const auto process = view.join("kv_cache-0", 1, start).value();
  view.set_ready(process, "cpu", start).value();
  view.set_progress(process, {.steps = 9}, start).value();

  const auto later = start + limits::health_patience;
  view.set_progress(process, working(9), later).value();

  BOOST_TEST(view.expire(later + limits::health_patience).empty());
  BOOST_TEST(view.expire(later + limits::health_patience + 1ms).size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_silent_member_is_lost) {
  cluster::membership view(recipe);
  const auto process = view.join("router-0", 1, start).value();
  view.set_ready(process, "", start).value();
  BOOST_TEST(view.expire(start + limits::health_patience + 1ms).size() == 1u);
}

BOOST_AUTO_TEST_CASE(loading_and_draining_have_their_own_patience) {
  cluster::membership view(recipe);
  const auto loading = view.join("expert_shard-0", 1, start).value();
  BOOST_TEST(view.expire(start + limits::start_timeout).empty());
  view.set_draining(loading, start).value();
  const auto end = start + limits::drain_timeout + limits::rpc_timeout;
  view.set_progress(loading, working(1), end).value(); // steps buy no time
  BOOST_TEST(view.expire(end).empty());
  BOOST_TEST(view.expire(end + 1ms).size() == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
