#include "actors/router_core.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;

namespace {

constexpr process_id kv_a{1}, kv_b{2};
const time_point t0{};

generation_request request(std::uint64_t id, std::vector<token_id> prompt = {1, 2, 3}) {
  generation_request r;
  r.id = request_id{id};
  r.prompt = std::move(prompt);
  r.sampling.max_tokens = 8;
  return r;
}

token_event event(std::uint64_t id, std::int32_t index, token_id token, finish_reason finish = finish_reason::none) {
  token_event e;
  e.id = request_id{id};
  e.index = index;
  e.token = token;
  e.finish = finish;
  return e;
}

router_core ready_core(std::vector<process_id> kv_caches = {kv_a}) {
  router_core core({.max_model_len = 64, .vocab_size = 100, .max_num_seqs = 2, .waiting_requests_max = 2});
  core.set_kv_caches(kv_caches, t0);
  return core;
}

} // namespace

BOOST_AUTO_TEST_SUITE(router_core)

BOOST_AUTO_TEST_CASE(nothing_is_admitted_before_a_kv_cache_was_ready_nor_while_draining) {
  troupe::router_core early({.vocab_size = 100});
  auto draining = ready_core();
  draining.drain();

  const auto too_early = early.submit(request(1), t0);
  const auto too_late = draining.submit(request(1), t0);

  BOOST_REQUIRE(!too_early);
  BOOST_REQUIRE(!too_late);
  BOOST_TEST(too_early.error().message == "starting: no kv_cache is ready yet");
  BOOST_TEST(too_late.error().message == "draining: no new requests");
}

BOOST_AUTO_TEST_CASE(requests_beyond_the_waiting_room_are_refused_with_a_time_to_come_again) {
  auto core = ready_core();
  for (std::uint64_t id = 1; id <= 4; ++id) BOOST_REQUIRE(core.submit(request(id), t0));

  const auto fifth = core.submit(request(5), t0);

  BOOST_REQUIRE(!fifth);
  BOOST_TEST(int(fifth.error().code) == int(errc::overloaded));
  BOOST_TEST(fifth.error().retry_after_s >= 1);
  core.cancel(request_id{1}, t0);
  BOOST_TEST(bool(core.submit(request(5), t0)));
}

BOOST_AUTO_TEST_CASE(requests_go_to_the_kv_cache_with_the_fewest) {
  auto core = ready_core({kv_a, kv_b});
  for (std::uint64_t id = 1; id <= 3; ++id) BOOST_REQUIRE(core.submit(request(id), t0));

  const auto assigned = core.assign();

  BOOST_REQUIRE(assigned.size() == 3u);
  BOOST_TEST((assigned[0].kv_cache == kv_a && assigned[1].kv_cache == kv_b && assigned[2].kv_cache == kv_a));
  BOOST_TEST(core.assign().empty(), "nothing is assigned twice");
}

BOOST_AUTO_TEST_CASE(a_successor_gets_the_output_so_far_and_goes_on_behind_it) {
  auto core = ready_core();
  BOOST_REQUIRE(core.submit(request(1), t0));
  core.assign();
  BOOST_TEST(core.accept(kv_a, event(1, 0, 40), t0));
  BOOST_TEST(core.accept(kv_a, event(1, 1, 41), t0));

  core.set_kv_caches(std::vector{kv_b}, t0);
  const auto assigned = core.assign();

  BOOST_REQUIRE(assigned.size() == 1u);
  BOOST_TEST((assigned[0].kv_cache == kv_b));
  BOOST_TEST(assigned[0].request.output == (std::vector<token_id>{40, 41}), boost::test_tools::per_element());
  BOOST_TEST(!core.accept(kv_a, event(1, 2, 42), t0), "the old one is not listened to any more");
  BOOST_TEST(core.accept(kv_b, event(1, 2, 42), t0));
}

BOOST_AUTO_TEST_CASE(prompt_log_probabilities_reported_before_a_take_over_are_not_passed_on_twice) {
  auto core = ready_core();
  auto echo = request(1);
  echo.sampling.prompt_logprobs = true;
  BOOST_REQUIRE(core.submit(echo, t0));
  core.assign();
  BOOST_TEST(core.accept(kv_a, event(1, -2, 2), t0));

  core.set_kv_caches(std::vector{kv_b}, t0);
  core.assign();

  BOOST_TEST(!core.accept(kv_b, event(1, -2, 2), t0));
  BOOST_TEST(core.accept(kv_b, event(1, -1, 3), t0));
  BOOST_TEST(core.accept(kv_b, event(1, 0, 50), t0));
}

BOOST_AUTO_TEST_CASE(the_last_event_frees_the_request) {
  auto core = ready_core();
  BOOST_REQUIRE(core.submit(request(1), t0));
  core.assign();

  BOOST_TEST(core.accept(kv_a, event(1, 0, 40, finish_reason::stop), t0));

  BOOST_TEST(core.idle());
  BOOST_TEST(!core.accept(kv_a, event(1, 1, 41), t0));
}

BOOST_AUTO_TEST_CASE(cancel_names_the_kv_cache_that_has_to_be_told) {
  auto core = ready_core();
  BOOST_REQUIRE(core.submit(request(1), t0));
  core.assign();
  BOOST_REQUIRE(core.submit(request(2), t0));

  BOOST_TEST((core.cancel(request_id{1}, t0) == kv_a));
  BOOST_TEST((core.cancel(request_id{2}, t0) == std::nullopt), "it was not sent to anyone yet");
  BOOST_TEST((core.cancel(request_id{3}, t0) == std::nullopt));
}

BOOST_AUTO_TEST_CASE(a_request_without_a_kv_cache_fails_after_dispatch_timeout) {
  auto core = ready_core();
  BOOST_REQUIRE(core.submit(request(1), t0));
  core.assign();
  BOOST_TEST(core.accept(kv_a, event(1, 0, 40), t0));
  core.set_kv_caches({}, t0);

  BOOST_TEST(core.expire(t0 + limits::dispatch_timeout).empty());
  const auto ended = core.expire(t0 + limits::dispatch_timeout + std::chrono::milliseconds(1));

  BOOST_REQUIRE(ended.size() == 1u);
  BOOST_TEST(ended[0].index == 1);
  BOOST_TEST(int(ended[0].finish) == int(finish_reason::failed));
  BOOST_TEST(core.idle());
}

BOOST_AUTO_TEST_CASE(moves_at_every_heartbeat_even_while_a_long_prompt_has_no_token_yet) {
  auto core = ready_core();
  core.submit(request(1), t0).value();
  core.assign();
  const auto before = core.steps();

  core.expire(t0 + limits::heartbeat_interval);

  BOOST_TEST(core.running() == 1);
  BOOST_TEST(core.steps() > before);
}

BOOST_AUTO_TEST_SUITE_END()
