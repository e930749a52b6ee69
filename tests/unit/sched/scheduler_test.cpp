#include "runtime/sched/scheduler.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

using namespace troupe;
using namespace troupe::sched;

namespace {

constexpr auto page = limits::page_tokens;

generation_request request(std::uint64_t id, int prompt_size, int max_tokens, int priority = 0) {
  generation_request r;
  r.id = request_id{id};
  r.prompt.resize(static_cast<std::size_t>(prompt_size));
  std::iota(r.prompt.begin(), r.prompt.end(), 100);
  r.sampling.max_tokens = max_tokens;
  r.priority = priority;
  return r;
}

/// A scheduler whose model always says 7 and whose drafts are accepted as told.
struct bench {
  kv::page_pool pool;
  sched::scheduler scheduler;
  std::map<std::uint64_t, int> outputs = {};
  std::vector<std::uint64_t> ids = {}; ///< of the last step's groups

  bench(int pages, scheduler_options options) : pool(pages), scheduler(options, pool) {}

  void admit(generation_request r) { scheduler.admit(std::move(r), time_point{}).value(); }

  step_plan step(bool accept_drafts = true) {
    auto plan = scheduler.plan();
    ids.clear();
    for (const auto& group : plan.groups) {
      auto& seq = *group.seq;
      ids.push_back(seq.id.value);
      bool ended = false;
      const int new_tokens = group.samples ? (group.has_draft && accept_drafts ? 2 : 1) : 0;
      for (int i = 0; i < new_tokens && !ended; ++i) {
        seq.tokens.push_back(7);
        ++outputs[seq.id.value];
        ended = seq.output_size() == seq.sampling.max_tokens;
      }
      ended ? scheduler.finish(group) : scheduler.commit(group, 7);
    }
    return plan;
  }
};

using id_list = std::vector<std::uint64_t>;

} // namespace

BOOST_AUTO_TEST_SUITE(scheduler)

BOOST_AUTO_TEST_CASE(refuses_what_can_never_run) {
  bench b(2, {.max_model_len = 200, .waiting_requests_max = 1});

  const auto code = [&](generation_request r) {
    const auto admitted = b.scheduler.admit(std::move(r), time_point{});
    return admitted ? std::string("ok") : std::string(to_string(admitted.error().code));
  };

  BOOST_TEST(code(request(1, 0, 1)) == "bad_input");
  BOOST_TEST(code(request(2, 200, 0)) == "bad_input");
  BOOST_TEST(code(request(3, 150, 51)) == "bad_input");
  BOOST_TEST(code(request(4, 2 * page, 2)) == "bad_input"); // 3 pages, there are 2
  BOOST_TEST(code(request(5, 2 * page, 1)) == "ok");
  BOOST_TEST(code(request(5, 3, 1)) == "bad_input");
  BOOST_TEST(code(request(6, 3, 1)) == "overloaded");
}

BOOST_AUTO_TEST_CASE(a_long_prompt_is_cut_into_chunks_beside_decoding_sequences) {
  bench b(16, {.max_num_batched_tokens = 10, .speculate = false});
  b.admit(request(1, 4, 9));
  b.step();
  b.admit(request(2, 20, 1));

  const auto first = b.step();
  BOOST_TEST(b.ids == (id_list{1, 2}), boost::test_tools::per_element());
  const auto second = b.step();
  const auto third = b.step();

  BOOST_TEST(first.groups[1].tokens.size() == 9u);
  BOOST_TEST(first.groups[1].logit_rows == 0);
  BOOST_TEST(second.groups[1].first_position == 9);
  BOOST_TEST(third.groups[1].tokens.size() == 2u);
  BOOST_TEST(third.groups[1].logit_rows == 1);
  BOOST_TEST(b.outputs[2] == 1);
}

BOOST_AUTO_TEST_CASE(requests_join_by_priority_and_then_by_arrival) {
  bench b(16, {.max_num_seqs = 2, .speculate = false});
  b.admit(request(1, 4, 2, 5));
  b.admit(request(2, 4, 2, 0));
  b.admit(request(3, 4, 2, 0));

  b.step();
  BOOST_TEST(b.ids == (id_list{2, 3}), boost::test_tools::per_element());
  b.step();
  b.step();
  BOOST_TEST(b.ids == (id_list{1}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_request_joins_only_below_the_cache_ratio) {
  bench b(10, {.join_usage_max = 0.5, .speculate = false});
  b.admit(request(1, 3 * page, 2));
  b.admit(request(2, 3 * page, 2));

  b.step();
  BOOST_TEST(b.ids == (id_list{1}), boost::test_tools::per_element());
  BOOST_TEST(b.scheduler.waiting() == 1);
  b.step();
  b.step();
  BOOST_TEST(b.ids == (id_list{2}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(without_pages_the_youngest_is_preempted_and_computed_again) {
  bench b(4, {.join_usage_max = 1.0, .speculate = false});
  b.admit(request(1, 2 * page, 70));
  b.admit(request(2, 2 * page - 1, 5)); // has room for one more token
  b.step();
  BOOST_TEST(b.pool.free_pages() == 0);

  b.step(); // request 1 needs its third page

  BOOST_TEST(b.ids == (id_list{1}), boost::test_tools::per_element());
  BOOST_TEST(b.scheduler.preemptions() == 1u);
  while (b.scheduler.has_work()) b.step();
  BOOST_TEST(b.outputs[1] == 70);
  BOOST_TEST(b.outputs[2] == 5);
  BOOST_TEST(b.pool.used_pages() == 0);
}

BOOST_AUTO_TEST_CASE(an_accepted_draft_saves_a_step_and_a_rejected_one_is_computed_again) {
  bench b(4, {});
  b.admit(request(1, 4, 9));
  b.step();

  const auto accepted = b.step(true);
  const auto rejected = b.step(false);
  const auto after = b.step(true);

  BOOST_TEST(accepted.groups[0].tokens.size() == 2u);
  BOOST_TEST(accepted.groups[0].logit_rows == 2);
  BOOST_TEST(rejected.groups[0].first_position == 6);
  BOOST_TEST(after.groups[0].first_position == 7);
  BOOST_TEST(b.outputs[1] == 6);
}

BOOST_AUTO_TEST_CASE(no_draft_is_run_where_its_token_could_not_be_used) {
  bench b(4, {});
  b.admit(request(1, 4, 2));
  b.step();
  BOOST_TEST(b.step().groups[0].tokens.size() == 1u);
}

BOOST_AUTO_TEST_CASE(a_draft_never_costs_somebody_a_page) {
  bench b(2, {.join_usage_max = 1.0});
  b.admit(request(1, page - 1, 5));
  b.admit(request(2, 5, 9));
  b.step();

  const auto plan = b.step(); // request 1's draft would be the first position of its second page

  BOOST_TEST(plan.groups[0].tokens.size() == 1u);
  BOOST_TEST(plan.groups[1].tokens.size() == 2u);
  BOOST_TEST(b.scheduler.preemptions() == 0u);
}

BOOST_AUTO_TEST_CASE(cancel_frees_at_once_wherever_the_request_is) {
  bench b(8, {.max_num_seqs = 1});
  b.admit(request(1, 100, 9));
  b.admit(request(2, 100, 9));
  b.step();

  BOOST_TEST(b.scheduler.cancel(request_id{1}));
  BOOST_TEST(b.scheduler.cancel(request_id{2}));
  BOOST_TEST(!b.scheduler.cancel(request_id{2}));

  BOOST_TEST(b.pool.used_pages() == 0);
  b.step();
  BOOST_TEST(b.ids.empty());
}

BOOST_AUTO_TEST_CASE(owed_prompt_logprobs_ask_for_logits_once_and_in_bounded_chunks) {
  bench b(8, {});
  auto r = request(1, 100, 3);
  r.sampling.prompt_logprobs = true;
  b.admit(r);

  const auto first = b.step();
  first.groups[0].seq->prompt_reported = 65;
  const auto second = b.step();

  BOOST_TEST(first.groups[0].tokens.size() == static_cast<std::size_t>(limits::prompt_logprob_rows_max));
  BOOST_TEST(first.groups[0].logit_rows == limits::prompt_logprob_rows_max);
  BOOST_TEST(second.groups[0].logit_rows == 36);
}

BOOST_AUTO_TEST_CASE(planning_twice_gives_the_same_rows) {
  bench b(8, {});
  b.admit(request(1, 100, 9));
  b.step();
  b.admit(request(2, 30, 9));

  const auto first = b.scheduler.plan();
  const auto second = b.scheduler.plan();

  BOOST_REQUIRE(first.groups.size() == second.groups.size());
  for (std::size_t i = 0; i < first.groups.size(); ++i) {
    BOOST_TEST(first.groups[i].tokens == second.groups[i].tokens, boost::test_tools::per_element());
    BOOST_TEST(first.groups[i].first_position == second.groups[i].first_position);
  }
}

// Random requests over random limits: every step computes something within its budget, and all end with all pages free.
BOOST_AUTO_TEST_CASE(always_progresses_within_its_limits) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    BOOST_TEST_CONTEXT("seed " << seed) {
      std::mt19937_64 random(seed);
      const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
      const int budget = 1 + below(below(2) == 0 ? 6 : 100);
      bench b(3 + below(10), {.max_num_seqs = 1 + below(10),
                              .max_num_batched_tokens = budget,
                              .join_usage_max = 0.3 + 0.7 * below(2),
                              .speculate = below(2) == 0});
      std::map<std::uint64_t, int> wanted;
      for (std::uint64_t id = 0; id < 20; ++id) {
        const int max_tokens = 1 + below(60);
        wanted[id] = max_tokens;
        b.admit(request(id, 1 + below(3 * page - max_tokens), max_tokens, below(3)));
      }
      int steps = 0;
      while (b.scheduler.has_work() && ++steps < 100'000) {
        const auto rows = b.step(below(2) == 0).row_count;
        if (rows < 1 || rows > budget) BOOST_FAIL("a step of " << rows << " rows, budget " << budget);
      }
      BOOST_TEST((b.outputs == wanted));
      BOOST_TEST(b.pool.used_pages() == 0);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
