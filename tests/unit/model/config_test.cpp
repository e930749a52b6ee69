// A config is read in every spelling that Hugging Face publishes, and refused in one line that names file and field.
#include "runtime/model/config.hpp"
#include "tests/support/temp_dir.hpp"

#include <boost/json.hpp>
#include <boost/test/unit_test.hpp>

#include <functional>

using namespace troupe;
using namespace troupe::model;
namespace json = boost::json;

namespace {

/// R1's own file (model-spec.md section 1).
json::object r1() {
  return json::parse(R"({
    "architectures": ["DeepseekV3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"}, "bos_token_id": 0, "eos_token_id": 1,
    "ep_size": 1, "first_k_dense_replace": 3, "hidden_act": "silu", "hidden_size": 7168, "initializer_range": 0.02,
    "intermediate_size": 18432, "kv_lora_rank": 512, "max_position_embeddings": 163840, "model_type": "deepseek_v3",
    "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1,
    "norm_topk_prob": true, "num_attention_heads": 128, "num_experts_per_tok": 8, "num_hidden_layers": 61,
    "num_key_value_heads": 128, "num_nextn_predict_layers": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3",
    "quant_method": "fp8", "weight_block_size": [128, 128]}, "rms_norm_eps": 1e-06, "rope_scaling": {"beta_fast": 32,
    "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096,
    "type": "yarn"}, "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid",
    "tie_word_embeddings": false, "topk_group": 4, "topk_method": "noaux_tc", "torch_dtype": "bfloat16",
    "transformers_version": "4.46.3", "use_cache": true, "v_head_dim": 128, "vocab_size": 129280})")
      .as_object();
}

using change = std::function<void(json::object&)>;

result<model_config> parse_after(const change& edit) {
  auto object = r1();
  edit(object);
  return parse_config(json::serialize(object), "config.json");
}

model_config config_after(const change& edit) { return parse_after(edit).value(); }

std::string refusal(errc code, const change& edit) {
  const auto parsed = parse_after(edit);
  BOOST_REQUIRE(!parsed);
  BOOST_TEST((parsed.error().code == code));
  return parsed.error().message;
}

json::object& rope(json::object& c) { return c["rope_scaling"].as_object(); }
json::object& quantization(json::object& c) { return c["quantization_config"].as_object(); }

std::string message_of(std::string_view text) { return parse_config(text, "config.json").error().message; }

} // namespace

#define TEST_REFUSED(code, message, statement)                                                                         \
  BOOST_TEST(refusal(errc::code, [](json::object& c) { statement; }) == std::string("config.json: ") + (message))

BOOST_AUTO_TEST_SUITE(config)

BOOST_AUTO_TEST_CASE(reads_every_field_of_r1) {
  const auto c = config_after([](auto&) {});

  BOOST_TEST(c.vocab_size == 129280);
  BOOST_TEST(c.hidden_size == 7168);
  BOOST_TEST(c.intermediate_size == 18432);
  BOOST_TEST(c.moe_intermediate_size == 2048);
  BOOST_TEST(c.layer_count == 61);
  BOOST_TEST(c.mtp_layer_count == 1);
  BOOST_TEST(c.head_count == 128);
  BOOST_TEST(c.shared_expert_count == 1);
  BOOST_TEST(c.expert_count == 256);
  BOOST_TEST(c.experts_per_token == 8);
  BOOST_TEST(c.group_count == 8);
  BOOST_TEST(c.topk_group == 4);
  BOOST_TEST(c.routed_scaling_factor == 2.5f);
  BOOST_TEST((c.scoring_func == scoring::sigmoid));
  BOOST_TEST((c.topk == topk_method::noaux_tc));
  BOOST_TEST(c.norm_topk_prob);
  BOOST_TEST(!c.is_moe(2));
  BOOST_TEST(c.is_moe(3));
  BOOST_TEST(c.q_lora_rank == 1536);
  BOOST_TEST(c.qk_head_dim() == 192);
  BOOST_TEST(c.latent_dim() == 576);
  BOOST_TEST(c.v_head_dim == 128);
  BOOST_TEST(c.rms_norm_eps == 1e-6f);
  BOOST_TEST(c.rope_theta == 10000.0f);
  BOOST_TEST(c.rope_interleave);
  BOOST_TEST(c.max_position_embeddings == 163840);
  BOOST_TEST(c.weight_block_rows == 128);
  BOOST_TEST(c.bos_token_id == 0);
  BOOST_TEST(c.eos_token_ids == std::vector<token_id>{1}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(reads_yarn_in_all_three_spellings) {
  const auto check = [](const model_config& c) {
    BOOST_REQUIRE(c.yarn.has_value());
    BOOST_TEST(c.yarn->factor == 40.0f);
    BOOST_TEST(c.yarn->original_max_position_embeddings == 4096);
    BOOST_TEST(c.yarn->beta_fast == 32.0f);
    BOOST_TEST(c.yarn->mscale_all_dim == 1.0f);
    BOOST_TEST(!c.yarn->attention_factor.has_value());
    BOOST_TEST(c.rope_theta == 10000.0f);
  };
  check(config_after([](auto&) {}));
  check(config_after([](auto& c) {
    rope(c).erase("type");
    rope(c)["rope_type"] = "yarn";
  }));
  check(config_after([](auto& c) {
    c["rope_parameters"] = rope(c);
    c["rope_parameters"].as_object()["rope_theta"] = 10000.0;
    c.erase("rope_scaling");
    c.erase("rope_theta");
  }));
}

BOOST_AUTO_TEST_CASE(knows_models_without_yarn) {
  BOOST_TEST(!config_after([](auto& c) { c["rope_scaling"] = nullptr; }).yarn.has_value());
  BOOST_TEST(!config_after([](auto& c) { rope(c)["type"] = "default"; }).yarn.has_value());
}

BOOST_AUTO_TEST_CASE(takes_integers_and_floats_for_one_another) {
  const auto c = config_after([](auto& c) {
    c["hidden_size"] = 7168.0;
    c["routed_scaling_factor"] = 2;
    rope(c)["original_max_position_embeddings"] = 4096.0;
    rope(c)["beta_fast"] = 32.5;
  });

  BOOST_TEST(c.hidden_size == 7168);
  BOOST_TEST(c.routed_scaling_factor == 2.0f);
  BOOST_TEST(c.yarn->beta_fast == 32.5f);
}

BOOST_AUTO_TEST_CASE(fills_in_what_other_models_leave_out) {
  const auto lite = config_after([](auto& c) {
    c["model_type"] = "deepseek_v2";
    c["q_lora_rank"] = nullptr;
    for (const auto* name : {"scoring_func", "topk_method", "num_nextn_predict_layers", "quantization_config",
                             "n_group", "topk_group", "num_key_value_heads"})
      c.erase(name);
    c["eos_token_id"] = json::array{1, 7};
  });

  BOOST_TEST(lite.q_lora_rank == 0);
  BOOST_TEST((lite.scoring_func == scoring::softmax));
  BOOST_TEST((lite.topk == topk_method::greedy));
  BOOST_TEST(lite.mtp_layer_count == 0);
  BOOST_TEST(lite.group_count == 1);
  BOOST_TEST(lite.eos_token_ids == (std::vector<token_id>{1, 7}), boost::test_tools::per_element());
  BOOST_TEST(config_after([](auto& c) { c["n_routed_experts"] = nullptr; }).is_moe(60) == false);
}

BOOST_AUTO_TEST_CASE(refuses_unknown_kinds_by_name) {
  TEST_REFUSED(unsupported, "model_type: \"llama\" is not supported", c["model_type"] = "llama");
  TEST_REFUSED(unsupported, "hidden_act: \"gelu\" is not supported", c["hidden_act"] = "gelu");
  TEST_REFUSED(unsupported, "scoring_func: \"tanh\" is not supported", c["scoring_func"] = "tanh");
  TEST_REFUSED(unsupported, "topk_method: \"random\" is not supported", c["topk_method"] = "random");
  TEST_REFUSED(unsupported, "rope_scaling.type: \"llama3\" is not supported", rope(c)["type"] = "llama3");
  TEST_REFUSED(unsupported, "rope_scaling.rope_type: \"su\" is not supported", rope(c)["rope_type"] = "su");
  TEST_REFUSED(unsupported, "quantization_config.quant_method: \"gptq\" is not supported",
               quantization(c)["quant_method"] = "gptq");
  TEST_REFUSED(unsupported, "quantization_config.fmt: \"e5m2\" is not supported", quantization(c)["fmt"] = "e5m2");
  TEST_REFUSED(unsupported, "scoring_func: \"a?b\" is not supported", c["scoring_func"] = "a\nb");
}

BOOST_AUTO_TEST_CASE(refuses_missing_fields) {
  TEST_REFUSED(bad_input, "model_type: must be a string", c.erase("model_type"));
  TEST_REFUSED(bad_input, "hidden_size: is missing", c.erase("hidden_size"));
  TEST_REFUSED(bad_input, "kv_lora_rank: is missing", c["kv_lora_rank"] = nullptr);
  TEST_REFUSED(bad_input, "norm_topk_prob: is missing", c.erase("norm_topk_prob"));
  TEST_REFUSED(bad_input, "rope_scaling.type: is missing", rope(c).erase("type"));
  TEST_REFUSED(bad_input, "rope_scaling.factor: is missing", rope(c).erase("factor"));
  TEST_REFUSED(bad_input, "quantization_config.quant_method: is missing", quantization(c).erase("quant_method"));
}

BOOST_AUTO_TEST_CASE(refuses_values_out_of_range_and_names_them) {
  TEST_REFUSED(bad_input, "hidden_size: -1 is not a whole number from 1 to 1048576", c["hidden_size"] = -1);
  TEST_REFUSED(bad_input, "hidden_size: 6.45E1 is not a whole number from 1 to 1048576", c["hidden_size"] = 64.5);
  TEST_REFUSED(bad_input, "hidden_size: \"64\" is not a whole number from 1 to 1048576", c["hidden_size"] = "64");
  TEST_REFUSED(bad_input, "vocab_size: 18446744073709551615 is not a whole number from 1 to 1048576",
               c["vocab_size"] = ~0ull);
  TEST_REFUSED(bad_input, "num_nextn_predict_layers: 2 is not a whole number from 0 to 1",
               c["num_nextn_predict_layers"] = 2);
  TEST_REFUSED(bad_input, "num_experts_per_tok: 257 is not a whole number from 1 to 256",
               c["num_experts_per_tok"] = 257);
  TEST_REFUSED(bad_input, "rms_norm_eps: 0 is not a number from 1e-12 to 1", c["rms_norm_eps"] = 0);
  TEST_REFUSED(bad_input, "rope_scaling.factor: 0 is not a number from 1 to 1e+06", rope(c)["factor"] = 0);
  TEST_REFUSED(bad_input, "norm_topk_prob: must be true or false", c["norm_topk_prob"] = 1);
  TEST_REFUSED(bad_input, "rope_scaling: must be an object", c["rope_scaling"] = "yarn");
  TEST_REFUSED(bad_input, "eos_token_id[1]: 129280 is not a whole number from 0 to 129279",
               (c["eos_token_id"] = json::array{1, 129280}));
  TEST_REFUSED(bad_input, "quantization_config.weight_block_size: must be [rows, columns]",
               (quantization(c)["weight_block_size"] = json::array{128}));
}

BOOST_AUTO_TEST_CASE(refuses_fields_that_contradict_one_another) {
  TEST_REFUSED(bad_input, "qk_rope_head_dim: is odd, but rotary embedding turns pairs", c["qk_rope_head_dim"] = 63);
  TEST_REFUSED(bad_input, "num_key_value_heads: differs from num_attention_heads; latent attention has one for each",
               c["num_key_value_heads"] = 8);
  TEST_REFUSED(bad_input, "n_group: does not divide n_routed_experts", c["n_group"] = 7);
  TEST_REFUSED(bad_input, "n_group: leaves one expert a group; noaux_tc sums two", c["n_group"] = 256);
  TEST_REFUSED(bad_input, "topk_group: 9 is not a whole number from 1 to 8", c["topk_group"] = 9);
  TEST_REFUSED(bad_input, "num_experts_per_tok: is more than topk_group groups hold", c["num_experts_per_tok"] = 129);
  TEST_REFUSED(bad_input, "rope_scaling.beta_slow: is larger than beta_fast", rope(c)["beta_slow"] = 33);
}

BOOST_AUTO_TEST_CASE(refuses_what_is_no_json_object) {
  BOOST_TEST(message_of("") == "config.json: not JSON: incomplete JSON");
  BOOST_TEST(message_of("{\"a\": 1") == "config.json: not JSON: incomplete JSON");
  BOOST_TEST(message_of("[]") == "config.json: must be an object");
  BOOST_TEST(message_of("{\"a\xc3\": 1}") == "config.json: invalid UTF-8 at byte 3");
  BOOST_TEST(message_of(std::string(100, '[')) == "config.json: not JSON: too deep");
  BOOST_TEST(message_of(R"({"n_group":8,"n_group":1})") == "config.json: not JSON: key \"n_group\" appears twice");
}

BOOST_AUTO_TEST_CASE(takes_end_tokens_from_the_generation_config) {
  const test::temp_dir dir;
  dir.write("config.json", json::serialize(r1()));
  BOOST_TEST(load_config(dir.path()).value().eos_token_ids.size() == 1u);
  BOOST_TEST(!load_generation_config(dir.path()).value().temperature.has_value());
  dir.write("generation_config.json",
            R"({"eos_token_id": [1, 5], "do_sample": true, "temperature": 0.6, "top_p": 0.95})");

  const auto generation = load_generation_config(dir.path()).value();
  const auto c = load_config(dir.path()).value();

  BOOST_TEST(generation.temperature.value() == 0.6f);
  BOOST_TEST(generation.top_p.value() == 0.95f);
  BOOST_TEST(!generation.top_k.has_value());
  BOOST_TEST(c.eos_token_ids == (std::vector<token_id>{1, 5}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(names_the_file_that_is_missing_or_wrong) {
  const test::temp_dir dir;
  const auto path = (dir.path() / "config.json").string();
  BOOST_TEST((load_config(dir.path()).error().code == errc::not_found));
  BOOST_TEST(load_config(dir.path()).error().message == path + ": no such file");
  dir.write("config.json", json::serialize(r1()));
  dir.write("generation_config.json", "{\"top_p\": 2}");

  BOOST_TEST(load_config(dir.path()).error().message ==
             (dir.path() / "generation_config.json").string() + ": top_p: 2 is not a number from 0 to 1");
}

BOOST_AUTO_TEST_SUITE_END()
