// The whole company in one process: requests through the router service, roles that die or leave under them.
#include "tests/support/local_company.hpp"

#include <boost/test/unit_test.hpp>

#include <deque>

using namespace troupe;
using troupe::test::collected;
using troupe::test::local_company;

namespace {

struct load {
  std::vector<generation_request> requests;
  std::deque<collected> answers;

  load(local_company& company, int count, int max_tokens) {
    for (int i = 0; i < count; ++i) {
      generation_request r;
      r.id = company.service->next_id();
      r.sampling.seed = static_cast<std::uint64_t>(100 + i);
      r.sampling.max_tokens = max_tokens;
      for (int t = 0; t <= i % 7; ++t) r.prompt.push_back((5 * i + 3 * t) % company.model.vocab_size);
      requests.push_back(r);
      answers.emplace_back();
      BOOST_REQUIRE(company.service->submit(r, answers.back().sink()));
    }
  }

  /// Every answer is whole and what the oracle says.
  void check(local_company& company) {
    for (std::size_t i = 0; i < requests.size(); ++i) {
      BOOST_TEST(answers[i].wait(), "request " << i << " must end with every token once");
      const auto expected = exec::sim_oracle(company.model, requests[i], {company.model.vocab_size, {}});
      BOOST_TEST(answers[i].tokens() == expected, boost::test_tools::per_element());
    }
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(company)

BOOST_AUTO_TEST_CASE(requests_get_the_oracles_tokens_through_all_roles) {
  local_company company;

  load requests(company, 20, 24);

  requests.check(company);
}

BOOST_AUTO_TEST_CASE(a_killed_expert_shard_is_replaced_and_costs_no_request) {
  local_company company;
  load requests(company, 8, 3000);
  BOOST_REQUIRE(requests.answers.front().wait_for_tokens(20));

  company.kill("expert_shard-1");

  requests.check(company);
  BOOST_TEST(company.service->status().roles.back().restarts == 1u);
}

BOOST_AUTO_TEST_CASE(a_killed_kv_cache_is_replaced_and_clients_see_no_gap) {
  local_company company;
  load requests(company, 8, 3000);
  BOOST_REQUIRE(requests.answers.front().wait_for_tokens(20));

  company.kill("kv_cache-0");

  requests.check(company);
}

BOOST_AUTO_TEST_CASE(draining_a_role_under_load_loses_nothing) {
  for (const std::string role : {"expert_shard-0", "kv_cache-0"}) {
    local_company company(2, 2);
    load requests(company, 8, 2000);
    BOOST_REQUIRE(requests.answers.front().wait_for_tokens(20));

    BOOST_TEST(company.drain(role), role);

    requests.check(company);
  }
}

BOOST_AUTO_TEST_CASE(a_draining_router_refuses_new_requests_and_finishes_old_ones) {
  local_company company;
  load requests(company, 4, 500);

  BOOST_TEST(company.drain("router-0"));

  requests.check(company);
  generation_request late;
  late.id = company.service->next_id();
  late.prompt = {1};
  const auto refused = company.service->submit(late, [](const token_event&) {});
  BOOST_REQUIRE(!refused);
  BOOST_TEST(int(refused.error().code) == int(errc::disconnected));
}

BOOST_AUTO_TEST_CASE(a_cancelled_request_is_freed_and_its_sink_stays_silent) {
  local_company company;
  load requests(company, 2, 4000);
  BOOST_REQUIRE(requests.answers[0].wait_for_tokens(5));

  company.service->cancel(requests.requests[0].id);

  const auto seen = requests.answers[0].tokens().size();
  BOOST_TEST(requests.answers[1].wait());
  BOOST_TEST(requests.answers[0].tokens().size() == seen);
  BOOST_TEST(int(requests.answers[0].finish()) == int(finish_reason::none));
}

BOOST_AUTO_TEST_CASE(bad_requests_are_refused_at_once_with_the_reason) {
  local_company company;
  generation_request r;
  r.id = company.service->next_id();

  const auto empty = company.service->submit(r, [](const token_event&) {});
  r.prompt = {1, company.model.vocab_size};
  const auto unknown = company.service->submit(r, [](const token_event&) {});
  r.prompt = {1};
  r.sampling.max_tokens = 100'000;
  const auto longer = company.service->submit(r, [](const token_event&) {});

  BOOST_REQUIRE(!empty);
  BOOST_REQUIRE(!unknown);
  BOOST_REQUIRE(!longer);
  BOOST_TEST(empty.error().message == "prompt: must have at least one token");
  BOOST_TEST(unknown.error().message == "prompt: token ids must be in [0, 97)");
  BOOST_TEST(longer.error().message == "prompt: 1 tokens and max_tokens 100000 exceed max_model_len 4096");
}

BOOST_AUTO_TEST_SUITE_END()
