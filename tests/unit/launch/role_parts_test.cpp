// All roles compute with one instruction set: what a machine does not have is refused, never replaced.
#include "launch/role_parts.hpp"
#include "runtime/exec/random_weights.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <thread>

using namespace troupe;
using namespace troupe::launch;

BOOST_AUTO_TEST_SUITE(role_parts)

BOOST_AUTO_TEST_CASE(the_instruction_set_is_the_named_one_or_none) {
  const auto here = kernels::supported_isas();
  for (const auto set : {kernels::isa::avx2, kernels::isa::avx512_bf16, kernels::isa::amx_bf16}) {
    const std::string name(kernels::name_of(set));
    const auto chosen = choose_isa(name);
    BOOST_TEST(chosen.has_value() == (std::count(here.begin(), here.end(), set) == 1), name);
    if (chosen) BOOST_TEST((*chosen == set));
    if (!chosen) BOOST_TEST((chosen.error().code == errc::unsupported));
  }
}

BOOST_AUTO_TEST_CASE(auto_is_the_fastest_and_anything_else_is_no_set) {
  const auto best = kernels::best_isa();
  const auto chosen = choose_isa("auto");
  BOOST_TEST(chosen.has_value() == best.has_value());
  if (chosen) BOOST_TEST((*chosen == *best));
  if (best) BOOST_TEST((choose_isa("sse2").error().code == errc::bad_input));
}

BOOST_AUTO_TEST_CASE(dummy_weights_need_the_config_alone_and_are_stored_as_it_says) {
  const std::string demo = TROUPE_SOURCE_DIR "/examples/demo_model", tiny = TROUPE_SOURCE_DIR "/tests/golden/t0";
  using kernels::tensor_type;
  for (const auto& [dir, type] : {std::pair{demo, tensor_type::f8_e4m3}, {tiny, tensor_type::f32}}) {
    const auto model = open_model({.model_dir = dir, .load_format = "dummy"}).value();
    const auto* weights = dynamic_cast<exec::random_weights*>(model.weights.get());
    BOOST_REQUIRE(weights);
    BOOST_TEST((weights->type_of("model.layers.0.mlp.up_proj.weight") == type));
  }
  const auto stored = open_model({.model_dir = tiny}).value();
  BOOST_TEST(dynamic_cast<exec::checkpoint_weights*>(stored.weights.get()));
}

BOOST_AUTO_TEST_CASE(roles_have_cores_of_their_own_only_where_threads_are_given_and_fit) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  serving_options options;
  BOOST_TEST(!have_own_cores(options, 1)); // each uses all
  options.threads = cores;
  BOOST_TEST(have_own_cores(options, 1));
  BOOST_TEST(!have_own_cores(options, 2));
  options.threads = 1;
  BOOST_TEST(have_own_cores(options, cores));
  BOOST_TEST(!have_own_cores(options, cores + 1));
}

BOOST_AUTO_TEST_SUITE_END()
