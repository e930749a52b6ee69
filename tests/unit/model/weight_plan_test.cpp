// A plan names exactly the tensors of a role: what the roles read together is the checkpoint, and nothing twice.
#include "runtime/model/weight_plan.hpp"

#include "tests/support/safetensors_image.hpp"
#include "tests/support/temp_dir.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <numeric>

using namespace troupe;
using namespace troupe::model;

namespace {

/// R1's sizes (model-spec.md section 1).
model_config r1() {
  model_config c;
  c.vocab_size = 129280;
  c.hidden_size = 7168;
  c.intermediate_size = 18432;
  c.moe_intermediate_size = 2048;
  c.layer_count = 61;
  c.mtp_layer_count = 1;
  c.head_count = 128;
  c.shared_expert_count = 1;
  c.expert_count = 256;
  c.experts_per_token = 8;
  c.first_k_dense_replace = 3;
  c.q_lora_rank = 1536;
  c.kv_lora_rank = 512;
  c.qk_nope_head_dim = 128;
  c.qk_rope_head_dim = 64;
  c.v_head_dim = 128;
  return c;
}

std::vector<expert_index> experts(int first, int count) {
  std::vector<expert_index> list(static_cast<std::size_t>(count));
  std::iota(list.begin(), list.end(), first);
  return list;
}

std::int64_t parameters(const weight_plan& plan) {
  std::int64_t sum = 0;
  for (const auto& tensor : plan)
    sum += std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::int64_t{1}, std::multiplies<>());
  return sum;
}

std::vector<std::string> names(const weight_plan& plan) {
  std::vector<std::string> list;
  for (const auto& tensor : plan) list.push_back(tensor.name);
  return list;
}

/// Bytes of safetensors files of `dir` that this process has mapped.
std::int64_t mapped_bytes(const std::filesystem::path& dir) {
  std::ifstream maps("/proc/self/maps");
  std::int64_t sum = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find(dir.string()) == line.npos) continue;
    std::uint64_t begin = 0, end = 0;
    std::sscanf(line.c_str(), "%lx-%lx", &begin, &end);
    sum += static_cast<std::int64_t>(end - begin);
  }
  return sum;
}

/// Every name that both plans together read, with the scales that the checkpoint has beside them, sorted.
std::vector<std::string> names_with_scales(const checkpoint& from, const weight_plan& a, const weight_plan& b) {
  auto all = names(a);
  for (const auto& name : names(b)) all.push_back(name);
  const auto count = all.size();
  for (std::size_t i = 0; i < count; ++i)
    if (from.find(all[i] + "_scale_inv")) all.push_back(all[i] + "_scale_inv");
  std::ranges::sort(all);
  return all;
}

/// Tensors that no role reads: the MTP module's copies of embedding and head.
bool is_copy(const std::string& name) {
  return name.ends_with(".embed_tokens.weight") ? name != "model.embed_tokens.weight"
                                                : name.ends_with("shared_head.head.weight");
}

/// Every checkpoint of the repository: R1's layout in FP8 with shards, variants in F32 and BF16.
const char* const checkpoints[] = {"examples/demo_model",       "tests/golden/t0",
                                   "tests/golden/t1",           "tests/golden/t0_no_q_lora",
                                   "tests/golden/t0_one_group", "tests/golden/t0_raw_weights",
                                   "tests/golden/t0_no_yarn",   "tests/golden/t0_two_shared"};

} // namespace

BOOST_AUTO_TEST_SUITE(weight_plan)

BOOST_AUTO_TEST_CASE(adds_up_to_the_published_size_of_r1) {
  const auto c = r1();
  const auto attention = plan_attention(c, false), all_experts = plan_experts(c, experts(0, 256), false);

  // 90,427 tensors of the main model, of which 5 scales belong to the attention of each layer and 3 to each MLP.
  const auto scales = 61 * 5 + 3 * 3 + 58 * (1 + 256) * 3;
  BOOST_TEST(attention.size() + all_experts.size() == static_cast<std::size_t>(90427 - scales));
  BOOST_TEST(parameters(attention) + parameters(all_experts) == 671'026'419'200);

  const auto module = parameters(plan_attention(c, true)) + parameters(plan_experts(c, experts(0, 256), true)) -
                      parameters(attention) - parameters(all_experts);
  BOOST_TEST(module / 10'000'000 == 1161); // 11.61 B
}

BOOST_AUTO_TEST_CASE(gives_a_shard_its_experts_of_every_moe_layer_and_nothing_else) {
  const auto plan = plan_experts(r1(), experts(8, 2), true);

  BOOST_TEST(plan.size() == 59u * 2 * 3);
  BOOST_TEST(plan.front().name == "model.layers.3.mlp.experts.8.gate_proj.weight");
  BOOST_TEST(plan.back().name == "model.layers.61.mlp.experts.9.down_proj.weight");
  BOOST_TEST(plan.back().shape == (std::vector<std::int64_t>{7168, 2048}), boost::test_tools::per_element());
  BOOST_TEST(std::ranges::all_of(names(plan), [](auto& n) { return n.find(".mlp.experts.") != n.npos; }));
  BOOST_TEST(
      std::ranges::none_of(names(plan_attention(r1(), true)), [](auto& n) { return n.find(".experts.") != n.npos; }));
}

BOOST_AUTO_TEST_CASE(follows_the_variants_of_a_config) {
  auto c = r1();
  c.q_lora_rank = 0;
  c.attention_bias = true;
  c.tie_word_embeddings = true;
  c.shared_expert_count = 0;
  c.topk = topk_method::greedy;

  const auto plan = names(plan_attention(c, false));

  const auto has = [&](std::string_view name) { return std::ranges::find(plan, name) != plan.end(); };
  BOOST_TEST(has("model.layers.60.self_attn.q_proj.weight"));
  BOOST_TEST(!has("model.layers.60.self_attn.q_a_proj.weight"));
  BOOST_TEST(has("model.layers.60.self_attn.o_proj.bias"));
  BOOST_TEST(!has("lm_head.weight"));
  BOOST_TEST(!has("model.layers.60.mlp.shared_experts.up_proj.weight"));
  BOOST_TEST(!has("model.layers.60.mlp.gate.e_score_correction_bias"));
  BOOST_TEST(has("model.layers.2.mlp.gate_proj.weight"));
}

BOOST_AUTO_TEST_CASE(covers_whole_checkpoints_with_every_tensor_once) {
  for (const auto* name : checkpoints) {
    BOOST_TEST_CONTEXT(name) {
      const auto dir = std::filesystem::path(TROUPE_SOURCE_DIR) / name;
      const auto config = load_config(dir).value();
      const auto from = checkpoint::open(dir).value();
      const bool mtp = config.mtp_layer_count == 1;
      const auto attention = plan_attention(config, mtp);
      const auto all_experts = plan_experts(config, experts(0, config.expert_count), mtp);
      auto stored = from.names();
      std::erase_if(stored, is_copy);

      const auto read = names_with_scales(from, attention, all_experts);
      const auto bytes = check_plan(attention, from, config).value() + check_plan(all_experts, from, config).value();

      BOOST_TEST(read == stored, boost::test_tools::per_element());
      std::int64_t expected = 0;
      for (const auto& tensor : stored) expected += static_cast<std::int64_t>(from.find(tensor)->bytes.size());
      BOOST_TEST(bytes == expected);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_shard_keeps_nothing_mapped_but_its_experts) {
  const auto dir = std::filesystem::path(TROUPE_SOURCE_DIR) / "examples/demo_model";
  const auto config = load_config(dir).value();
  const auto all = checkpoint::open(dir).value();
  auto own = checkpoint::open(dir).value();
  const auto plan = plan_experts(config, experts(4, 3), config.mtp_layer_count == 1);
  const auto mapped_before = mapped_bytes(dir);

  keep_plan(plan, own, config).value();

  const auto bytes = check_plan(plan, own, config).value();
  const auto page = std::int64_t{4096};
  const auto own_mapped = mapped_bytes(dir) - mapped_before / 2;
  BOOST_TEST(own_mapped >= bytes);
  BOOST_TEST(own_mapped <= bytes + 2 * page * static_cast<std::int64_t>(2 * plan.size()));
  BOOST_TEST(own_mapped < mapped_before / 8);
  for (const auto& [name, shape] : plan)
    BOOST_TEST(std::ranges::equal(own.find(name)->bytes, all.find(name)->bytes), name);
  const auto* foreign = own.find("model.layers.0.self_attn.o_proj.weight");
  BOOST_TEST(foreign->bytes.empty());
  BOOST_TEST((foreign->type == kernels::tensor_type::f8_e4m3));
}

BOOST_AUTO_TEST_CASE(finds_a_tensor_that_is_missing_before_anything_is_loaded) {
  const test::temp_dir dir;
  dir.write("model.safetensors", test::safetensors_image().add<float>("model.norm.weight", "F32", {2}, {1, 1}).file());
  const auto from = checkpoint::open(dir.path()).value();
  model_config c;
  c.hidden_size = 2;

  const auto message = check_plan({{"model.norm.weight", {2}}, {"lm_head.weight", {3, 2}}}, from, c).error().message;

  BOOST_TEST(message == dir.path().string() + ": lm_head.weight: is missing");
}

BOOST_AUTO_TEST_SUITE_END()
