#include "runtime/exec/sim_engine.hpp"

#include "tests/support/sharded_experts.hpp"

#include <boost/test/unit_test.hpp>

#include <numeric>

using namespace troupe;
using namespace troupe::exec;

namespace {

const sim_model model{};

troupe::testing::sharded_experts make_experts() {
  std::vector<expert_index> all(static_cast<std::size_t>(model.expert_count));
  std::iota(all.begin(), all.end(), 0);
  troupe::testing::sharded_experts::shard_list shards;
  shards.push_back(std::make_unique<sim_expert_engine>(model, all));
  return {std::move(shards), model.expert_count, model.hidden_size, moe::element::f32};
}

const std::vector<token_id> prompt{5, 1, 9, 2, 6, 5, 3};

std::vector<float> last_logits(sim_engine& engine, expert_client& experts, std::span<const page_id> pages,
                               std::size_t first, std::span<const token_id> tokens) {
  const row_group group{.tokens = tokens.subspan(first),
                        .first_position = static_cast<std::int32_t>(first),
                        .pages = pages,
                        .logit_rows = 1};
  engine.forward({&group, 1}, experts).value();
  const auto logits = engine.logits(0);
  return {logits.begin(), logits.end()};
}

} // namespace

BOOST_AUTO_TEST_SUITE(sim_engine)

BOOST_AUTO_TEST_CASE(chunks_give_the_same_logits_as_one_prefill) {
  auto experts = make_experts();
  exec::sim_engine whole(model, 2), cut(model, 2);
  const std::vector<page_id> pages{page_id{1}};

  const auto expected = last_logits(whole, experts, pages, 0, prompt);
  last_logits(cut, experts, pages, 0, std::span(prompt).first(4));

  BOOST_TEST(last_logits(cut, experts, pages, 4, prompt) == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_changed_token_or_a_lost_page_changes_the_logits) {
  auto experts = make_experts();
  exec::sim_engine engine(model, 2);
  const std::vector<page_id> pages{page_id{0}}, other_pages{page_id{1}};
  const auto expected = last_logits(engine, experts, pages, 0, prompt);

  const auto lost_page = last_logits(engine, experts, other_pages, 4, prompt);
  auto changed = prompt;
  changed[0] = 6;
  const auto changed_token = last_logits(engine, experts, pages, 0, changed);

  BOOST_TEST((lost_page != expected));
  BOOST_TEST((changed_token != expected));
}

BOOST_AUTO_TEST_CASE(a_shard_refuses_what_is_not_its_own) {
  sim_expert_engine shard(model, {0, 1});
  moe::shard_batch batch;
  batch.hidden_size = model.hidden_size;
  batch.inputs = segment::copy_of(std::vector<std::byte>(static_cast<std::size_t>(model.hidden_size) * 4));
  batch.experts = {1};
  batch.rows = {0};
  const auto refused = [&](auto change) {
    auto broken = batch;
    change(broken);
    const auto answer = shard.run(broken);
    return !answer && answer.error().code == errc::bad_input;
  };

  BOOST_TEST(shard.run(batch).has_value());
  BOOST_TEST(refused([](auto& b) { b.experts = {2}; }));
  BOOST_TEST(refused([](auto& b) { b.rows = {1}; }));
  BOOST_TEST(refused([](auto& b) { b.rows = {-1}; }));
  BOOST_TEST(refused([](auto& b) { b.layer = model.layer_count; }));
  BOOST_TEST(refused([](auto& b) { b.inputs = segment::copy_of(b.inputs.bytes().subspan(1)); }));
}

BOOST_AUTO_TEST_SUITE_END()
