#include "runtime/moe/dispatch.hpp"

#include "kernels/tensor_type.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

using namespace troupe;
using namespace troupe::moe;

namespace {

struct random_step {
  routing choice;
  std::vector<float> inputs;
  static constexpr std::int32_t expert_count = 16;
  std::int32_t hidden_size = 0;
};

random_step make_step(std::mt19937_64& random, int row_count, int hidden_size) {
  random_step step;
  step.hidden_size = hidden_size;
  step.choice.row_count = row_count;
  step.choice.experts_per_row = 1 + static_cast<int>(random() % 8);
  std::normal_distribution<float> normal;
  std::vector<expert_index> all(random_step::expert_count);
  std::iota(all.begin(), all.end(), 0);
  for (int row = 0; row < row_count; ++row) {
    std::shuffle(all.begin(), all.end(), random);
    std::vector<expert_index> chosen(all.begin(), all.begin() + step.choice.experts_per_row);
    std::sort(chosen.begin(), chosen.end());
    for (const auto e : chosen) {
      step.choice.experts.push_back(e);
      step.choice.weights.push_back(normal(random));
    }
  }
  step.inputs.resize(static_cast<std::size_t>(row_count * hidden_size));
  for (auto& x : step.inputs) x = normal(random);
  return step;
}

float expert_of(expert_index expert, float x) { return x * (1.0f + 0.37f * static_cast<float>(expert)) - 0.1f; }

shard_output run(const shard_batch& batch) {
  const auto hidden = static_cast<std::size_t>(batch.hidden_size);
  shard_output answer;
  answer.outputs = segment::allocate(batch.experts.size() * hidden * bytes_of(batch.type));
  for (std::size_t i = 0; i < batch.experts.size() * hidden; ++i) {
    const auto pair = i / hidden;
    const auto from = static_cast<std::size_t>(batch.rows[pair]) * hidden + i % hidden;
    if (batch.type == element::f32) {
      float x;
      std::memcpy(&x, batch.inputs.bytes().data() + 4 * from, 4);
      const float y = expert_of(batch.experts[pair], x);
      std::memcpy(answer.outputs.writable().data() + 4 * i, &y, 4);
    } else {
      std::uint16_t x;
      std::memcpy(&x, batch.inputs.bytes().data() + 2 * from, 2);
      const auto y = kernels::float_to_bf16(expert_of(batch.experts[pair], kernels::bf16_to_float(x)));
      std::memcpy(answer.outputs.writable().data() + 2 * i, &y, 2);
    }
  }
  return answer;
}

std::vector<float> through_shards(const random_step& step, int shard_count, element type) {
  const auto where = place_evenly(random_step::expert_count, shard_count, 1);
  const auto plan = plan_dispatch(3, step.choice, step.inputs, step.hidden_size, type, where);
  std::vector<shard_output> answers;
  for (const auto& part : plan.parts) answers.push_back(run(part.batch));
  std::vector<float> out(step.inputs.size(), 0.5f);
  combine(plan, step.choice, answers, out).value();
  return out;
}

/// The definition, row by row and expert by expert, without batches.
std::vector<float> oracle(const random_step& step) {
  std::vector<float> out(step.inputs.size(), 0.5f);
  const auto hidden = static_cast<std::size_t>(step.hidden_size);
  const auto per_row = static_cast<std::size_t>(step.choice.experts_per_row);
  for (std::size_t i = 0; i < out.size(); ++i) {
    float sum = 0;
    for (std::size_t slot = i / hidden * per_row; slot < (i / hidden + 1) * per_row; ++slot)
      sum += step.choice.weights[slot] * expert_of(step.choice.experts[slot], step.inputs[i]);
    out[i] += sum;
  }
  return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

} // namespace

BOOST_AUTO_TEST_SUITE(dispatch)

BOOST_AUTO_TEST_CASE(any_number_of_shards_gives_the_same_bits) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    BOOST_TEST_CONTEXT("seed " << seed) {
      std::mt19937_64 random(seed);
      const auto step = make_step(random, 1 + static_cast<int>(random() % 40), 1 + static_cast<int>(random() % 70));
      BOOST_TEST(same_bits(through_shards(step, 1, element::f32), oracle(step)));
      for (const auto type : {element::f32, element::bf16})
        for (const int shards : {2, 4, 16})
          BOOST_TEST(same_bits(through_shards(step, shards, type), through_shards(step, 1, type)));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_batch_is_sorted_by_expert_and_row_and_carries_each_row_once) {
  std::mt19937_64 random(7);
  const auto step = make_step(random, 20, 5);

  const auto plan = plan_dispatch(3, step.choice, step.inputs, 5, element::f32, place_evenly(16, 3, 1));

  std::size_t pairs = 0;
  for (const auto& [shard, batch, slots] : plan.parts) {
    pairs += slots.size();
    BOOST_TEST(batch.layer == 3);
    BOOST_TEST(slots.size() == batch.experts.size());
    std::vector<std::pair<expert_index, std::int32_t>> order;
    for (std::size_t i = 0; i < slots.size(); ++i) order.emplace_back(batch.experts[i], batch.rows[i]);
    BOOST_TEST(std::is_sorted(order.begin(), order.end()));
    std::vector<std::int32_t> distinct = batch.rows;
    std::sort(distinct.begin(), distinct.end());
    distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
    BOOST_TEST(batch.inputs.size() == distinct.size() * 5 * sizeof(float));
  }
  BOOST_TEST(pairs == step.choice.experts.size());
}

BOOST_AUTO_TEST_CASE(no_rows_make_an_empty_plan) {
  const routing nothing{.row_count = 0, .experts_per_row = 2, .experts = {}, .weights = {}};

  const auto plan = plan_dispatch(0, nothing, {}, 8, element::bf16, place_evenly(4, 2, 1));

  BOOST_TEST(plan.parts.empty());
  BOOST_TEST(combine(plan, nothing, {}, {}).has_value());
}

BOOST_AUTO_TEST_CASE(shards_without_work_get_no_batch) {
  const routing choice{.row_count = 1, .experts_per_row = 1, .experts = {3}, .weights = {1.0f}};
  const std::vector<float> input{1, 2};

  const auto plan = plan_dispatch(0, choice, input, 2, element::f32, place_evenly(4, 2, 1));

  BOOST_REQUIRE(plan.parts.size() == 1u);
  BOOST_TEST(plan.parts[0].shard.value == 1u);
}

BOOST_AUTO_TEST_CASE(an_answer_of_the_wrong_size_is_bad_input) {
  std::mt19937_64 random(9);
  const auto step = make_step(random, 4, 6);
  const auto plan = plan_dispatch(0, step.choice, step.inputs, 6, element::f32, place_evenly(16, 1, 1));
  std::vector<float> out(step.inputs.size());
  std::vector<shard_output> answers{run(plan.parts[0].batch)};

  answers[0].outputs = segment::copy_of(answers[0].outputs.bytes().subspan(1));
  const auto too_short = combine(plan, step.choice, answers, out);
  const auto too_few = combine(plan, step.choice, {}, out);

  BOOST_REQUIRE(!too_short);
  BOOST_TEST((too_short.error().code == errc::bad_input));
  BOOST_TEST(too_short.error().message.find("shard 0 answered") != std::string::npos);
  BOOST_REQUIRE(!too_few);
  BOOST_TEST((too_few.error().code == errc::bad_input));
  BOOST_TEST(std::all_of(out.begin(), out.end(), [](float x) { return x == 0; }));
}

BOOST_AUTO_TEST_SUITE_END()
