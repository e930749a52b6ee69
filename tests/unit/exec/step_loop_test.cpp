// The step loop over the hash-chain engine: whatever joins, leaves, is preempted or guessed, each request gets what the
// closed form says.
#include "runtime/exec/step_loop.hpp"

#include "runtime/exec/sim_engine.hpp"
#include "tests/support/sharded_experts.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <random>

using namespace troupe;
using namespace troupe::exec;

namespace {

const sim_model model{};
const sampler_options sampling{.vocab_size = 95, .end_tokens = {0}};

/// A whole cluster in one thread.
struct cluster {
  sim_engine engine;
  troupe::testing::sharded_experts experts;
  exec::step_loop loop;
  std::map<std::uint64_t, std::vector<token_event>> events = {};

  cluster(int pages, sched::scheduler_options scheduling, int shard_count = 1, moe::element type = moe::element::f32)
      : engine(model, pages), experts(make_shards(shard_count), model.expert_count, model.hidden_size, type),
        loop(engine, experts, {scheduling, sampling}) {}

  static troupe::testing::sharded_experts::shard_list make_shards(int count) {
    const auto where = moe::place_evenly(model.expert_count, count, 1);
    troupe::testing::sharded_experts::shard_list shards;
    for (int s = 0; s < count; ++s)
      shards.push_back(
          std::make_unique<sim_expert_engine>(model, where.experts_of(shard_id{static_cast<std::uint32_t>(s)})));
    return shards;
  }

  void admit(const generation_request& request) { loop.admit(request, time_point{}).value(); }

  result<void> step() {
    TROUPE_ASSIGN(auto news, loop.step(time_point{}));
    for (auto& event : news) events[event.id.value].push_back(std::move(event));
    return {};
  }

  void run() {
    while (loop.has_work()) step().value();
  }
};

generation_request request(std::uint64_t id, std::vector<token_id> prompt, int max_tokens) {
  generation_request r;
  r.id = request_id{id};
  r.prompt = std::move(prompt);
  r.sampling.max_tokens = max_tokens;
  r.sampling.ignore_eos = true;
  r.sampling.seed = id;
  return r;
}

generation_request random_request(std::mt19937_64& random, std::uint64_t id) {
  const auto below = [&](unsigned n) { return static_cast<int>(random() % n); };
  std::vector<token_id> prompt(static_cast<std::size_t>(1 + below(below(2) == 0 ? 120 : 20)));
  for (auto& token : prompt) token = below(97);
  auto r = request(id, std::move(prompt), 1 + below(below(2) == 0 ? 130 : 20));
  r.priority = below(3);
  r.sampling.temperature = static_cast<float>(below(3)) * 0.6f;
  r.sampling.top_k = below(2) * 20;
  r.sampling.top_p = below(2) == 0 ? 1.0f : 0.9f;
  r.sampling.repetition_penalty = below(2) == 0 ? 1.0f : 1.2f;
  r.sampling.presence_penalty = static_cast<float>(below(2)) * 0.5f;
  r.sampling.seed = random();
  r.sampling.ignore_eos = below(2) == 0;
  r.sampling.min_tokens = below(2) * std::min(5, r.sampling.max_tokens);
  if (below(3) == 0) r.sampling.stop_token_ids = {below(97)};
  return r;
}

/// The tokens of an answer whose indices must be first, first + 1, ... and whose end must be its last event.
std::vector<token_id> tokens_of(const std::vector<token_event>& events, std::int32_t first = 0) {
  std::vector<token_id> tokens;
  for (std::size_t i = 0; i < events.size(); ++i) {
    const bool last = i + 1 == events.size();
    if (events[i].index != first + static_cast<std::int32_t>(i) || (events[i].finish != finish_reason::none) != last)
      BOOST_FAIL("event " << i << " has index " << events[i].index << " and ends " << last);
    tokens.push_back(events[i].token);
  }
  return tokens;
}

/// Chooses by itself, as a GPU does, and counts who asks for what.
class choosing_engine final : public engine {
 public:
  explicit choosing_engine(engine& to) : to_(to) {}
  const engine_info& info() const override { return to_.info(); }
  result<void> forward(std::span<const row_group> groups, expert_client& experts) override {
    return to_.forward(groups, experts);
  }
  std::span<const float> logits(std::int32_t i) const override { return ++logits_asked, to_.logits(i); }
  std::vector<result<sampled_token>> sample(std::span<const sample_row> rows, sampler& how) override {
    rows_asked.push_back(static_cast<int>(rows.size()));
    return to_.sample(rows, how);
  }
  result<std::vector<token_id>> draft(std::span<const draft_group> groups, expert_client& experts) override {
    return to_.draft(groups, experts);
  }

  mutable int logits_asked = 0;
  std::vector<int> rows_asked;

 private:
  engine& to_;
};

} // namespace

BOOST_AUTO_TEST_SUITE(step_loop)

BOOST_AUTO_TEST_CASE(one_request_equals_the_oracle) {
  cluster c(4, {});
  const auto r = request(1, {4, 8, 15, 16, 23, 42}, 40);
  c.admit(r);

  c.run();

  BOOST_TEST(tokens_of(c.events[1]) == sim_oracle(model, r, sampling), boost::test_tools::per_element());
  BOOST_TEST((c.events[1].back().finish == finish_reason::length));
  BOOST_TEST(c.loop.stats().pages_used == 0);
  BOOST_TEST(c.loop.stats().prompt_tokens == 6u);
  BOOST_TEST(c.loop.stats().generation_tokens == 40u);
  BOOST_TEST(c.loop.stats().requests_finished == 1u);
}

BOOST_AUTO_TEST_CASE(the_first_token_says_how_long_its_request_waited_and_steps_count_their_rows) {
  using std::chrono::milliseconds;
  cluster c(4, {.max_num_seqs = 1});
  const time_point start{};
  c.loop.admit(request(1, {4, 8, 15}, 2), start).value();
  c.loop.admit(request(2, {16}, 1), start + milliseconds(5)).value();

  std::vector<token_event> events;
  for (auto now = start + milliseconds(30); c.loop.has_work(); now += milliseconds(100))
    for (auto& event : c.loop.step(now).value()) events.push_back(std::move(event));

  BOOST_TEST_REQUIRE(events.size() == 3u);
  BOOST_TEST(events[0].queue_ms == 30);
  BOOST_TEST(events[1].queue_ms == 0, "only the first token says it");
  BOOST_TEST(events[2].queue_ms == 225);
  const auto& rows = c.loop.stats().step_rows;
  BOOST_TEST(rows.steps[0] == 2u);
  BOOST_TEST(rows.steps[1] == 1u);
  BOOST_TEST(rows.rows == 5u);
}

// Random arrivals, cancels, priorities, tiny pools and budgets, shards, dropped dispatches, speculation on and off.
BOOST_AUTO_TEST_CASE(every_request_equals_the_oracle_whatever_happens) {
  step_stats sum;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    BOOST_TEST_CONTEXT("seed " << seed) {
      std::mt19937_64 random(seed);
      const auto below = [&](unsigned n) { return static_cast<int>(random() % n); };
      sched::scheduler_options scheduling;
      scheduling.max_num_seqs = 1 + below(8);
      scheduling.max_num_batched_tokens = 1 + below(below(2) == 0 ? 8 : 80);
      scheduling.join_usage_max = below(2) == 0 ? 1.0 : 0.8;
      scheduling.speculate = below(3) > 0;
      cluster c(4 + below(4), scheduling, 1 << below(3), below(2) == 0 ? moe::element::f32 : moe::element::bf16);
      const bool faulty = below(3) == 0;
      c.experts.fault = [&]() -> std::optional<error> {
        if (faulty && below(20) == 0) return error{errc::disconnected, "a shard is away"};
        return std::nullopt;
      };

      std::map<std::uint64_t, generation_request> sent;
      std::vector<std::uint64_t> cancelled;
      while (sent.size() < 12 || c.loop.has_work()) {
        if (sent.size() < 12 && below(4) == 0) {
          const auto r = random_request(random, sent.size());
          c.admit(r);
          sent[r.id.value] = r;
        }
        if (!sent.empty() && below(100) == 0) {
          const auto id = static_cast<std::uint64_t>(below(static_cast<unsigned>(sent.size())));
          if (c.loop.cancel(request_id{id})) cancelled.push_back(id);
        }
        if (const auto done = c.step(); !done) BOOST_REQUIRE((done.error().code == errc::disconnected));
      }

      for (const auto& [id, r] : sent) {
        auto expected = sim_oracle(model, r, sampling);
        const bool whole = std::find(cancelled.begin(), cancelled.end(), id) == cancelled.end();
        std::vector<token_id> got;
        for (const auto& event : c.events[id]) got.push_back(event.token);
        if (whole) got = tokens_of(c.events[id]);
        if (!whole) expected.resize(std::min(expected.size(), got.size()));
        BOOST_TEST(got == expected, boost::test_tools::per_element());
      }
      BOOST_TEST(c.loop.stats().pages_used == 0);
      if (!faulty) BOOST_TEST(c.engine.stale_drafts() == 0u);
      sum.preemptions += c.loop.stats().preemptions;
      sum.drafts_accepted += c.loop.stats().drafts_accepted;
      sum.drafts_proposed += c.loop.stats().drafts_proposed;
      sum.requests_cancelled += c.loop.stats().requests_cancelled;
    }
  }
  BOOST_TEST_MESSAGE(sum.preemptions << " preemptions, " << sum.drafts_accepted << " of " << sum.drafts_proposed
                                     << " drafts accepted, " << sum.requests_cancelled << " cancelled");
  BOOST_TEST(sum.preemptions > 20u);
  BOOST_TEST(sum.drafts_accepted > 200u);
  BOOST_TEST(sum.drafts_accepted < sum.drafts_proposed);
  BOOST_TEST(sum.requests_cancelled > 20u);
}

BOOST_AUTO_TEST_CASE(speculation_changes_speed_and_nothing_else) {
  const auto events_with = [](bool speculate) {
    cluster c(16, {.speculate = speculate});
    for (std::uint64_t id = 0; id < 4; ++id) {
      auto r = request(id, {static_cast<token_id>(id), 7, 3}, 60);
      r.sampling.temperature = id % 2 == 0 ? 0.0f : 1.0f;
      r.sampling.logprobs = 3;
      c.admit(r);
    }
    c.run();
    return std::pair(c.events, c.loop.stats().steps);
  };

  const auto [with, steps_with] = events_with(true);
  const auto [without, steps_without] = events_with(false);

  BOOST_TEST(steps_with < steps_without);
  for (const auto& [id, expected] : without) {
    BOOST_REQUIRE(with.at(id).size() == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      BOOST_TEST(with.at(id)[i].token == expected[i].token);
      BOOST_TEST(with.at(id)[i].logprob == expected[i].logprob);
      BOOST_TEST(with.at(id)[i].top.size() == 3u);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_lost_dispatch_loses_nothing) {
  cluster c(4, {});
  const auto r = request(1, {4, 8, 15}, 10);
  c.admit(r);
  int calls = 0;
  c.experts.fault = [&]() -> std::optional<error> {
    return ++calls % 5 == 0 ? std::optional(error{errc::disconnected, "away"}) : std::nullopt;
  };

  int errors = 0;
  while (c.loop.has_work())
    if (!c.step()) ++errors;

  BOOST_TEST(errors > 3);
  BOOST_TEST(tokens_of(c.events[1]) == sim_oracle(model, r, sampling), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(another_engine_error_fails_the_requests_of_the_step) {
  cluster c(4, {.max_num_seqs = 1});
  c.admit(request(1, {4, 8}, 10));
  c.admit(request(2, {4, 8}, 3));
  c.step().value();
  c.experts.fault = [] { return std::optional(error{errc::bug, "bad kernel"}); };
  c.step().value();
  c.experts.fault = [] { return std::nullopt; };
  c.run();

  BOOST_TEST((c.events[1].back().finish == finish_reason::failed));
  BOOST_TEST(c.events[1].back().token == -1);
  BOOST_TEST(c.events[1].back().index == static_cast<int>(c.events[1].size()) - 1);
  BOOST_TEST((c.events[2].back().finish == finish_reason::length));
  BOOST_TEST(c.loop.stats().requests_failed == 1u);
  BOOST_TEST(c.loop.stats().pages_used == 0);
}

BOOST_AUTO_TEST_CASE(abandoning_ends_every_request) {
  cluster c(8, {.max_num_seqs = 1});
  c.admit(request(1, {4, 8}, 10));
  c.admit(request(2, {4, 8}, 10));
  c.step().value();

  const auto events = c.loop.abandon();

  BOOST_REQUIRE(events.size() == 2u);
  BOOST_TEST(events[0].index == 1);
  BOOST_TEST(events[1].index == 0);
  BOOST_TEST((events[1].finish == finish_reason::failed));
  BOOST_TEST(!c.loop.has_work());
  BOOST_TEST(c.loop.stats().pages_used == 0);
}

BOOST_AUTO_TEST_CASE(a_request_taken_over_goes_on_where_its_client_stands) {
  const auto whole = request(1, {4, 8, 15, 16}, 30);
  const auto expected = sim_oracle(model, whole, sampling);
  auto rest = whole;
  rest.sampling.presence_penalty = 0;
  rest.output.assign(expected.begin(), expected.begin() + 12);
  cluster c(4, {});
  c.admit(rest);

  c.run();

  BOOST_TEST(tokens_of(c.events[1], 12) == std::vector(expected.begin() + 12, expected.end()),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(prompt_logprobs_come_once_each_before_the_first_token) {
  cluster c(3, {.max_num_batched_tokens = 7, .join_usage_max = 1.0});
  std::vector<token_id> prompt(100);
  for (std::size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<token_id>(i * i % 97);
  auto echo = request(1, prompt, 2);
  echo.sampling.prompt_logprobs = true;
  echo.sampling.logprobs = 1;
  echo.priority = 1;
  c.admit(echo);
  for (int i = 0; i < 5; ++i) c.step().value();
  c.admit(request(2, std::vector<token_id>(64, 3), 70)); // takes the pages away in the middle of the prompt

  c.run();

  BOOST_TEST(c.loop.stats().preemptions == 1u);
  const auto& events = c.events[1];
  BOOST_REQUIRE(events.size() == 101u);
  for (std::size_t i = 0; i < events.size(); ++i) {
    BOOST_TEST(events[i].index == static_cast<int>(i) - 99);
    if (i < 99) BOOST_TEST(events[i].token == prompt[i + 1]);
    BOOST_TEST(events[i].logprob < 0);
    BOOST_TEST(events[i].top.size() == 1u);
  }
}

BOOST_AUTO_TEST_CASE(max_tokens_zero_only_scores_the_prompt) {
  cluster c(2, {});
  auto echo = request(1, {4, 8, 15}, 0);
  echo.sampling.prompt_logprobs = true;
  c.admit(echo);

  c.run();

  BOOST_REQUIRE(c.events[1].size() == 3u);
  BOOST_TEST(c.events[1][1].index == -1);
  BOOST_TEST(c.events[1][2].index == 0);
  BOOST_TEST(c.events[1][2].token == -1);
  BOOST_TEST((c.events[1][2].finish == finish_reason::length));
}

BOOST_AUTO_TEST_CASE(an_engine_chooses_the_tokens_of_all_rows_of_a_step_at_once) {
  cluster c(8, {});
  choosing_engine counting(c.engine);
  exec::step_loop loop(counting, c.experts, {{}, sampling});
  auto greedy = request(1, {4, 8, 15}, 20), drawn = request(2, {16, 23}, 20);
  greedy.sampling.temperature = 0, greedy.sampling.presence_penalty = 0.5f, drawn.sampling.top_p = 0.9f;
  for (const auto& r : {greedy, drawn}) loop.admit(r, time_point{}).value();

  std::map<std::uint64_t, std::vector<token_event>> events;
  while (loop.has_work())
    for (auto& event : loop.step(time_point{}).value()) events[event.id.value].push_back(std::move(event));

  for (const auto& r : {greedy, drawn})
    BOOST_TEST(tokens_of(events[r.id.value]) == sim_oracle(model, r, sampling), boost::test_tools::per_element());
  BOOST_TEST(counting.logits_asked == 0);
  BOOST_TEST(counting.rows_asked.size() == loop.stats().steps);
  BOOST_TEST(counting.rows_asked.front() == 2);
  BOOST_TEST(*std::max_element(counting.rows_asked.begin(), counting.rows_asked.end()) == 4); // drafts beside them
}

BOOST_AUTO_TEST_CASE(bad_requests_are_refused_at_once) {
  cluster c(2, {});
  const auto code = [&](const generation_request& r) { return c.loop.admit(r, time_point{}).error().code; };
  auto hot = request(1, {1}, 2);
  hot.sampling.temperature = -1;

  BOOST_TEST((code(hot) == errc::bad_input));
  BOOST_TEST((code(request(1, {97}, 2)) == errc::bad_input));
  BOOST_TEST((code(request(1, {-1}, 2)) == errc::bad_input));
  BOOST_TEST(!c.loop.has_work());
}

BOOST_AUTO_TEST_SUITE_END()
