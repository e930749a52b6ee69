// The engine against the double-precision model on random weights: every branch of model-spec.md 14, every target.
#include "runtime/exec/cpu_model.hpp"
#include "runtime/exec/random_weights.hpp"
#include "tests/support/engine_rig.hpp"
#include "tests/support/test_seed.hpp"
#include "tests/unit/exec/reference_model.hpp"

#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <functional>

using namespace troupe;
using namespace troupe::exec;
using namespace troupe::testing;
using kernels::tensor_type;

namespace {

double largest_difference(const test::rows& want, const logit_rows& got) {
  double worst = want.size() == got.size() ? 0 : INFINITY;
  for (std::size_t r = 0; r < std::min(want.size(), got.size()); ++r)
    for (std::size_t i = 0; i < want[r].size(); ++i)
      worst = std::isfinite(got[r][i]) ? std::max(worst, std::abs(want[r][i] - got[r][i])) : INFINITY;
  return worst;
}

struct variant {
  std::string name;
  std::function<void(model::model_config&)> change;
  tensor_type type = tensor_type::f32;
};
std::ostream& operator<<(std::ostream& out, const variant& v) { return out << v.name; }

using config = model::model_config;
const std::vector<variant> variants = {
    {"T0", [](config&) {}},
    {"one query projection", [](config& c) { c.q_lora_rank = 0; }},
    {"one group", [](config& c) { c.group_count = c.topk_group = 1; }},
    {"weights not normalised", [](config& c) { c.norm_topk_prob = false; }},
    {"no rope scaling", [](config& c) { c.yarn.reset(); }},
    {"attention factor given", [](config& c) { c.yarn->attention_factor = 1.25f; }},
    {"two shared experts", [](config& c) { c.shared_expert_count = 2; }},
    {"no shared expert", [](config& c) { c.shared_expert_count = 0; }},
    {"attention biases", [](config& c) { c.attention_bias = true; }},
    {"rope in halves", [](config& c) { c.rope_interleave = false; }},
    {"tied embeddings", [](config& c) { c.tie_word_embeddings = true; }},
    {"V2-Lite: softmax, greedy",
     [](config& c) {
       c.scoring_func = model::scoring::softmax, c.topk = model::topk_method::greedy;
       c.norm_topk_prob = false, c.group_count = c.topk_group = 1, c.yarn->mscale = c.yarn->mscale_all_dim = 0.707f;
     }},
    {"V2: softmax, group-limited",
     [](config& c) {
       c.scoring_func = model::scoring::softmax, c.topk = model::topk_method::group_limited_greedy;
       c.norm_topk_prob = false;
     }},
    {"BF16 weights", [](config&) {}, tensor_type::bf16},
    {"FP8 weights with edge blocks",
     [](config& c) { c.hidden_size = 160, c.moe_intermediate_size = 136, c.kv_lora_rank = 128; }, tensor_type::f8_e4m3},
};

} // namespace

BOOST_AUTO_TEST_SUITE(cpu_engine)

BOOST_DATA_TEST_CASE(agrees_with_the_double_precision_model, boost::unit_test::data::make(variants), v) {
  const auto seed = fresh_seed();
  std::mt19937_64 random(seed);
  auto config = named_shape("tiny").value();
  v.change(config);
  random_weights weights(seed, v.type);
  test::reference_model reference(weights, config);
  auto rig = make_rig(weights, config, {.dtype = cpu_dtype::float32});
  const auto tokens = random_tokens(random, 40, config.vocab_size);
  const auto next = random_tokens(random, 40, config.vocab_size);
  const auto pages = pages_from(5, 40);

  const auto hidden = reference.hidden(tokens);
  const auto got = run_alone(rig, tokens, pages, std::vector{40});
  BOOST_TEST(largest_difference(reference.logits(hidden), got) <= 1e-4);

  const auto want = reference.draft_logits(hidden, next);
  std::vector<draft_group> groups;
  for (std::size_t i = 0; i < 40; ++i)
    groups.push_back(
        {static_cast<std::int32_t>(i), static_cast<std::int32_t>(i), std::span(next).subspan(i, 1), pages});
  const auto drafts = rig.device->draft(groups, *rig.experts).value();
  auto& engine = dynamic_cast<cpu_model&>(*rig.device);
  logit_rows draft_logits;
  for (int i = 0; i < 40; ++i) draft_logits.emplace_back(engine.draft_logits(i).begin(), engine.draft_logits(i).end());
  BOOST_TEST(largest_difference(want, draft_logits) <= 1e-4);
  BOOST_TEST(draft_logits[7][static_cast<std::size_t>(drafts[7])] ==
             *std::max_element(draft_logits[7].begin(), draft_logits[7].end()));
}

BOOST_AUTO_TEST_CASE(every_instruction_set_agrees_in_float32) {
  const auto seed = fresh_seed();
  std::mt19937_64 random(seed);
  const auto config = named_shape("tiny").value();
  random_weights weights(seed, tensor_type::bf16);
  const auto tokens = random_tokens(random, 70, config.vocab_size);
  test::reference_model reference(weights, config);
  const auto want = reference.logits(reference.hidden(tokens));

  for (const auto set : kernels::supported_isas()) {
    auto rig = make_rig(weights, config, {.dtype = cpu_dtype::float32, .isa = set});
    BOOST_TEST_CONTEXT(kernels::name_of(set))
    BOOST_TEST(largest_difference(want, run_alone(rig, tokens, pages_from(0, 70), std::vector{70})) <= 1e-4);
  }
}

BOOST_AUTO_TEST_CASE(the_dtype_follows_the_checkpoint_unless_it_is_given) {
  const auto config = named_shape("tiny").value();
  random_weights f32(1, tensor_type::f32), bf16(1, tensor_type::bf16);

  BOOST_TEST(make_rig(f32, config, {}).device->info().name.ends_with("/float32"));
  BOOST_TEST(make_rig(bf16, config, {}).device->info().name.ends_with("/bfloat16"));
  BOOST_TEST(make_rig(bf16, config, {.dtype = cpu_dtype::float32}).device->info().name.ends_with("/float32"));
}

BOOST_AUTO_TEST_CASE(a_checkpoint_may_lack_the_mtp_module_its_config_announces) {
  struct without_mtp final : weight_source {
    std::optional<tensor_type> type_of(const std::string& name) const override {
      return name.starts_with(layer_prefix(1)) ? std::optional(tensor_type::bf16) : std::nullopt;
    }
    result<stored_matrix> matrix(const std::string&, std::int64_t, std::int64_t) override { return stored_matrix{}; }
    result<std::vector<float>> vector(const std::string&, std::int64_t) override { return std::vector<float>{}; }
  } weights;
  model::model_config c;
  c.layer_count = 2;
  c.mtp_layer_count = 1;
  BOOST_TEST(!has_mtp(weights, c));
  c.layer_count = 1;
  BOOST_TEST(has_mtp(weights, c));
}

BOOST_AUTO_TEST_CASE(input_that_does_not_fit_is_refused) {
  const auto config = named_shape("tiny").value();
  random_weights weights(1, tensor_type::bf16);
  auto rig = make_rig(weights, config, {.pages = 4});
  const std::vector<token_id> good{1, 2, 3}, bad{1, config.vocab_size};
  const auto pages = pages_from(3, 3), outside = pages_from(4, 3);

  const auto refused = [&](const row_group& group) {
    const auto outcome = rig.device->forward({&group, 1}, *rig.experts);
    return !outcome && outcome.error().code == errc::bad_input;
  };
  BOOST_TEST(!refused({good, 0, pages, 1}));
  BOOST_TEST(refused({bad, 0, pages, 1}));
  BOOST_TEST(refused({good, 62, pages, 1}));
  BOOST_TEST(refused({good, 0, outside, 1}));
}

BOOST_AUTO_TEST_SUITE_END()
