// The experts of one shard, and what an engine does when they fail it.
#include "runtime/exec/cpu_engine.hpp"
#include "runtime/exec/random_weights.hpp"
#include "runtime/moe/elements.hpp"
#include "tests/support/engine_rig.hpp"
#include "tests/support/test_seed.hpp"
#include "tests/unit/exec/reference_model.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::exec;
using namespace troupe::testing;

namespace {

const model::model_config config = named_shape("tiny").value();

cpu_options one_thread(cpu_dtype dtype) {
  cpu_options options;
  options.dtype = dtype;
  options.threads = 1;
  return options;
}

/// Three rows for experts 4 and 6 of layer 1.
moe::shard_batch make_batch(moe::element type, std::span<const float> inputs) {
  moe::shard_batch batch{.layer = 1,
                         .type = type,
                         .hidden_size = config.hidden_size,
                         .inputs = {},
                         .experts = {4, 4, 6},
                         .rows = {0, 2, 1}};
  batch.inputs = segment::allocate(inputs.size() * moe::bytes_of(type));
  moe::write_elements(inputs, type, batch.inputs.writable().data());
  return batch;
}

std::vector<float> random_inputs(std::mt19937_64& random) {
  std::vector<float> inputs(3 * static_cast<std::size_t>(config.hidden_size));
  for (auto& value : inputs) value = std::normal_distribution<float>{}(random);
  return inputs;
}

/// Fails every call until told otherwise.
class broken_client final : public expert_client {
 public:
  result<void> start(layer_index, const moe::routing&, std::span<const float>) override { return {}; }
  result<void> finish(std::span<float>) override { return error{errc::disconnected, "shard 1 is away"}; }
};

} // namespace

BOOST_AUTO_TEST_SUITE(cpu_experts)

BOOST_AUTO_TEST_CASE(each_pair_gets_the_output_of_its_expert_on_its_row) {
  const auto seed = fresh_seed();
  std::mt19937_64 random(seed);
  random_weights weights(seed, kernels::tensor_type::f32);
  const std::vector<expert_index> owned{4, 6};
  const auto shard = make_cpu_expert_engine(weights, config, owned, one_thread(cpu_dtype::float32)).value();
  const auto inputs = random_inputs(random);
  const auto batch = make_batch(moe::element::f32, inputs);

  const auto answer = shard->run(batch).value();

  const auto hidden = static_cast<std::size_t>(config.hidden_size);
  std::vector<float> got(3 * hidden);
  BOOST_REQUIRE(answer.outputs.size() == got.size() * 4);
  moe::read_elements(answer.outputs.bytes().data(), moe::element::f32, got);
  double worst = 0;
  for (std::size_t pair = 0; pair < 3; ++pair) {
    const auto* from = inputs.data() + static_cast<std::size_t>(batch.rows[pair]) * hidden;
    const auto prefix = "model.layers.1.mlp.experts." + std::to_string(batch.experts[pair]) + ".";
    const auto at = [&](const char* name, int out, int in) { return weights.matrix(prefix + name, out, in).value(); };
    const auto gate = at("gate_proj.weight", config.moe_intermediate_size, config.hidden_size);
    const auto up = at("up_proj.weight", config.moe_intermediate_size, config.hidden_size);
    const auto down = at("down_proj.weight", config.hidden_size, config.moe_intermediate_size);
    const auto want = kernels::ref::swiglu({from, from + hidden}, 1, gate.view, up.view, down.view);
    for (std::size_t i = 0; i < hidden; ++i) worst = std::max(worst, std::abs(want[i] - got[pair * hidden + i]));
  }
  BOOST_TEST(worst <= 1e-5);
}

BOOST_AUTO_TEST_CASE(batches_that_do_not_fit_are_refused) {
  const auto seed = fresh_seed();
  std::mt19937_64 random(seed);
  random_weights weights(seed, kernels::tensor_type::bf16);
  const std::vector<expert_index> owned{4, 6};
  const auto shard = make_cpu_expert_engine(weights, config, owned, one_thread(cpu_dtype::bfloat16)).value();
  const auto good = make_batch(moe::element::bf16, random_inputs(random));
  const auto refused = [&](auto change) {
    auto batch = good;
    change(batch);
    const auto outcome = shard->run(batch);
    return !outcome && outcome.error().code == errc::bad_input;
  };

  BOOST_TEST(!refused([](auto&) {}));
  BOOST_TEST(refused([](auto& b) { b.experts[2] = 7; }));
  BOOST_TEST(refused([](auto& b) { b.experts[2] = 1'000'000; }));
  BOOST_TEST(refused([](auto& b) { b.experts[0] = 6; }));
  BOOST_TEST(refused([](auto& b) { b.rows[1] = 3; }));
  BOOST_TEST(refused([](auto& b) { b.rows[1] = -1; }));
  BOOST_TEST(refused([](auto& b) { b.rows.pop_back(); }));
  BOOST_TEST(refused([](auto& b) { b.inputs = segment::copy_of(b.inputs.bytes().subspan(1)); }));
  BOOST_TEST(refused([](auto& b) { b.layer = 0; }));
  BOOST_TEST(refused([](auto& b) { b.layer = config.layer_count + 1; }));
  BOOST_TEST(refused([](auto& b) { b.hidden_size = 32; }));
}

BOOST_AUTO_TEST_CASE(a_step_that_lost_its_experts_is_done_again_with_the_same_bits) {
  const auto seed = fresh_seed();
  std::mt19937_64 random(seed);
  random_weights weights(seed, kernels::tensor_type::bf16);
  auto rig = make_rig(weights, config, {});
  const auto tokens = random_tokens(random, 10, config.vocab_size);
  const auto pages = pages_from(0, 64);
  const row_group group{.tokens = tokens, .pages = pages};
  rig.device->forward({&group, 1}, *rig.experts).value();
  const auto want = copy_logits(*rig.device, 0, 1);

  broken_client broken;
  const auto outcome = rig.device->forward({&group, 1}, broken);
  BOOST_REQUIRE(!outcome);
  BOOST_TEST((outcome.error().code == errc::disconnected));
  rig.device->forward({&group, 1}, *rig.experts).value();

  BOOST_TEST((copy_logits(*rig.device, 0, 1) == want));
}

BOOST_AUTO_TEST_CASE(an_expert_the_model_does_not_have_is_refused) {
  random_weights weights(1, kernels::tensor_type::bf16);
  const std::vector<expert_index> owned{config.expert_count};
  const auto outcome = make_cpu_expert_engine(weights, config, owned, one_thread(cpu_dtype::bfloat16));
  BOOST_REQUIRE(!outcome);
  BOOST_TEST((outcome.error().code == errc::bad_input));
}

BOOST_AUTO_TEST_SUITE_END()
