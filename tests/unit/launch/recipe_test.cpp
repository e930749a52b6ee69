#include "launch/recipe.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe::launch;

namespace {

std::string refusal(const std::string& yaml) {
  const auto r = parse_recipe(yaml, "dir/cluster.yaml");
  BOOST_REQUIRE(!r);
  return r.error().message;
}

} // namespace

BOOST_AUTO_TEST_SUITE(recipe)

BOOST_AUTO_TEST_CASE(the_local_recipe_is_one_kv_cache_and_two_expert_shards_of_the_demo_model) {
  const auto r = load_recipe(TROUPE_SOURCE_DIR "/examples/recipes/local.yaml");

  BOOST_REQUIRE(r);
  BOOST_TEST(r->size.kv_caches == 1);
  BOOST_TEST(r->size.expert_shards == 2);
  BOOST_TEST(r->serving.model_dir == TROUPE_SOURCE_DIR "/examples/demo_model");
  BOOST_TEST(r->front.port == 8000);
}

BOOST_AUTO_TEST_CASE(what_a_recipe_does_not_say_keeps_its_default) {
  const auto r = parse_recipe("model: /m\nserving: {max_num_seqs: 7, device: cuda, isa: avx2, load_format: dummy, "
                              "kv_cache_dtype: fp8_ds_mla}\n",
                              "dir/cluster.yaml");

  BOOST_REQUIRE(r);
  BOOST_TEST(r->serving.model_dir == "/m");
  BOOST_TEST(r->serving.max_num_seqs == 7);
  BOOST_TEST(r->serving.device == "cuda");
  BOOST_TEST(r->serving.isa == "avx2");
  BOOST_TEST(r->serving.kv_cache_dtype == "fp8_ds_mla");
  BOOST_TEST(r->serving.load_format == "dummy");
  BOOST_TEST(r->serving.max_model_len == troupe::limits::max_model_len_default);
  BOOST_TEST(r->size.expert_shards == 1);
}

BOOST_AUTO_TEST_CASE(errors_name_file_key_and_reason) {
  BOOST_TEST(refusal("port: 1") == "dir/cluster.yaml: model: missing");
  BOOST_TEST(refusal("model: m\nmodle: n") == "dir/cluster.yaml: unknown key \"modle\"");
  BOOST_TEST(refusal("model: m\nport: many") == "dir/cluster.yaml: port: cannot read \"many\"");
  BOOST_TEST(refusal("model: m\nserving: {treads: 1}") == "dir/cluster.yaml: serving: unknown key \"treads\"");
  BOOST_TEST(refusal("model: m\nroles: {expert_shard: 0}") ==
             "dir/cluster.yaml: roles.expert_shard: must be 1 to 1024");
  BOOST_TEST(refusal("model: m\nserving: {isa: avx9}") ==
             "dir/cluster.yaml: serving.isa: must be auto, avx2, avx512_bf16 or amx_bf16");
  BOOST_TEST(refusal("model: m\nserving: {kv_cache_dtype: int4}") ==
             "dir/cluster.yaml: serving.kv_cache_dtype: KV cache dtype 'int4': auto, bfloat16, fp8_ds_mla or fp8");
  BOOST_TEST(refusal("model: m\nserving: {load_format: gguf}") ==
             "dir/cluster.yaml: serving.load_format: must be auto, safetensors or dummy");
  BOOST_TEST(refusal("- a\n- b") == "dir/cluster.yaml: expected keys and values");
}

BOOST_AUTO_TEST_CASE(progress_threads_spin_and_are_pinned_as_told) {
  const auto r =
      parse_recipe("model: /m\nsecret_file: /k\nspin_rounds: -1\nprogress_cpus: [3, 5]\n", "dir/cluster.yaml");

  BOOST_REQUIRE(r);
  const auto first = carrier_options_of(*r, 0), second = carrier_options_of(*r, 1), third = carrier_options_of(*r, 2);
  BOOST_TEST(first.secret_file == "/k");
  BOOST_TEST(first.spin_rounds == -1);
  BOOST_TEST(first.progress_cpu == 3);
  BOOST_TEST(second.progress_cpu == 5);
  BOOST_TEST(third.progress_cpu == -1);
}

BOOST_AUTO_TEST_CASE(roles_may_run_on_other_hosts) {
  const auto r = parse_recipe("model: /m\nroles: {expert_shard: 2}\ncluster_host: 10.0.0.1\n"
                              "sites: {expert_shard-1: {host: 10.0.0.2, command: ssh gpu2}}\n",
                              "dir/cluster.yaml");

  BOOST_REQUIRE(r);
  BOOST_TEST(r->cluster_host == "10.0.0.1");
  BOOST_TEST(r->sites.size() == 1);
  BOOST_TEST(r->sites.at("expert_shard-1").host == "10.0.0.2");
  BOOST_TEST(r->sites.at("expert_shard-1").command == "ssh gpu2");
}

BOOST_AUTO_TEST_CASE(roles_may_have_devices_of_their_own) {
  const auto r =
      parse_recipe("model: /m\nserving: {device: cuda:0}\ndevices: {expert_shard-0: cuda:1}\n", "dir/cluster.yaml");

  BOOST_REQUIRE(r);
  BOOST_TEST(r->devices.size() == 1u);
  BOOST_TEST(r->devices.at("expert_shard-0") == "cuda:1");
  BOOST_TEST(refusal("model: m\ndevices: {expert_shard-1: cpu}") ==
             "dir/cluster.yaml: devices: unknown role \"expert_shard-1\"");
  BOOST_TEST(
      refusal("model: m\ndevices: {kv_cache-0: cuda:1}") ==
      "dir/cluster.yaml: devices: kv_cache-0: cuda:1, but all others compute on cpu, and rows travel in one format");
  BOOST_TEST(refusal("model: m\ndevices: {kv_cache-0: tpu}").starts_with("dir/cluster.yaml: devices: kv_cache-0: "));
}

BOOST_AUTO_TEST_CASE(sites_of_roles_that_are_not_there_or_lack_something_are_refused) {
  BOOST_TEST(refusal("model: m\nsites: {expert_shard-1: {host: h, command: c}}") ==
             "dir/cluster.yaml: sites: unknown role \"expert_shard-1\"");
  BOOST_TEST(refusal("model: m\nsites: {router-0: {host: h, command: c}}") ==
             "dir/cluster.yaml: sites: unknown role \"router-0\"");
  BOOST_TEST(refusal("model: m\nsites: {kv_cache-0: {host: h}}") ==
             "dir/cluster.yaml: sites: kv_cache-0: host and command, or neither");
  BOOST_TEST(refusal("model: m\nsites: [a]") == "dir/cluster.yaml: sites: expected keys and values");
}

BOOST_AUTO_TEST_CASE(text_that_is_no_yaml_is_refused) {
  BOOST_TEST(refusal("model: [").starts_with("dir/cluster.yaml: "));
}

BOOST_AUTO_TEST_SUITE_END()
