// The cache's format from the flag to the engine: what is refused, what a page takes, and what the engine computes.
#include "runtime/exec/cache_dtype.hpp"
#include "runtime/exec/random_weights.hpp"
#include "tests/support/engine_rig.hpp"
#include "tests/support/test_seed.hpp"
#include "tests/unit/exec/reference_model.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe;
using namespace troupe::exec;
using namespace troupe::testing;
using kernels::tensor_type;

namespace {

model::model_config fitting_config() {
  auto config = named_shape("tiny").value();
  config.kv_lora_rank = 256;
  return config;
}

double distance(const test::rows& want, const logit_rows& got) {
  double squares = 0;
  for (std::size_t r = 0; r < want.size(); ++r)
    for (std::size_t i = 0; i < want[r].size(); ++i) squares += std::pow(want[r][i] - got[r][i], 2);
  return std::sqrt(squares);
}

} // namespace

BOOST_AUTO_TEST_SUITE(cache_dtype)

BOOST_AUTO_TEST_CASE(names_are_those_of_vllm) {
  BOOST_TEST((parse_cache_dtype("auto").value() == exec::cache_dtype::automatic));
  BOOST_TEST((parse_cache_dtype("bfloat16").value() == exec::cache_dtype::bfloat16));
  BOOST_TEST((parse_cache_dtype("fp8_ds_mla").value() == exec::cache_dtype::fp8_ds_mla));
  BOOST_TEST((parse_cache_dtype("fp8").value() == exec::cache_dtype::fp8_ds_mla));
  const auto refused = parse_cache_dtype("int4");
  BOOST_REQUIRE(!refused);
  BOOST_TEST(refused.error().message == "KV cache dtype 'int4': auto, bfloat16, fp8_ds_mla or fp8");
}

BOOST_AUTO_TEST_CASE(what_an_engine_cannot_cache_is_refused_in_one_line) {
  random_weights weights(1, tensor_type::bf16);
  const auto refusal = [&](exec::cache_dtype cache, cpu_dtype dtype) {
    cpu_engine_options options;
    options.cache = cache, options.cpu.dtype = dtype, options.page_count = 1;
    const auto made = make_cpu_engine(weights, named_shape("tiny").value(), options);
    BOOST_REQUIRE(!made);
    BOOST_TEST((made.error().code == errc::unsupported));
    return made.error().message;
  };
  BOOST_TEST(refusal(exec::cache_dtype::fp8_ds_mla, cpu_dtype::bfloat16) ==
             "KV cache dtype fp8_ds_mla: a scale is for 128 channels, and this model's kv_lora_rank is 16");
  BOOST_TEST(refusal(exec::cache_dtype::bfloat16, cpu_dtype::float32) ==
             "KV cache dtype bfloat16: an engine that computes in float32 caches float32 (auto) or fp8_ds_mla");
}

BOOST_AUTO_TEST_CASE(pages_take_what_their_entries_take) {
  const auto config = fitting_config();
  random_weights weights(1, tensor_type::bf16);
  const auto layers = std::size_t(config.layer_count + 1);
  const auto plain = make_rig(weights, config, {}).device->info();
  const auto codes = make_rig(weights, config, {.cache = exec::cache_dtype::fp8_ds_mla}).device->info();
  BOOST_TEST(plain.page_bytes == layers * 64 * 2 * (256 + config.qk_rope_head_dim));
  BOOST_TEST(codes.page_bytes == layers * 64 * (256 + 8 + 2 * config.qk_rope_head_dim));
  BOOST_TEST(codes.name == plain.name + "/fp8_ds_mla");
}

/// The double-precision model with its entries rounded as the cache rounds them. Where fp32 and double fall on two
/// sides of a middle a code differs, so the engine may be off by a small part of what rounding costs.
BOOST_AUTO_TEST_CASE(logits_are_those_of_the_emulation) {
  const auto seed = fresh_seed();
  std::mt19937_64 random(seed);
  const auto config = fitting_config();
  random_weights weights(seed, tensor_type::f32);
  auto rig = make_rig(weights, config, {.dtype = cpu_dtype::float32, .cache = exec::cache_dtype::fp8_ds_mla});
  const auto tokens = random_tokens(random, 70, config.vocab_size);
  test::reference_model exact(weights, config), emulation(weights, config);
  emulation.round_entries();

  const auto got = run_alone(rig, tokens, pages_from(3, 70), std::vector{70});

  const auto want = emulation.logits(emulation.hidden(tokens));
  const double cost = distance(exact.logits(exact.hidden(tokens)), got), error = distance(want, got);
  BOOST_TEST_MESSAGE("rounding costs " << cost << ", the engine is off by " << error);
  BOOST_TEST(error < 0.1 * cost);
}

BOOST_AUTO_TEST_SUITE_END()
