// A flag may come from the command line, a file, the environment or a recipe: the first of them that has it wins.
#include "launch/flag_file.hpp"
#include "launch/serving_flags.hpp"
#include "tests/support/temp_dir.hpp"

#include <CLI/CLI.hpp>
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

using namespace troupe;
using namespace troupe::launch;

namespace {

/// `troupe launch`, as far as its flags go.
struct command_line {
  recipe plan;
  CLI::App app;

  command_line() {
    auto* verb = app.add_subcommand("launch");
    const auto load = [this](const std::string& yaml) { plan = parse_recipe(yaml, "recipe.yaml").value(); };
    verb->add_option_function<std::string>("recipe", load)->required();
    add_front_flags(*verb, plan.front);
    add_serving_flags(*verb, plan.serving);
    read_flags_from_elsewhere(*verb);
    read_flags_from_file(app);
  }

  /// Returns the plan after `troupe launch RECIPE words...`.
  const recipe& parse(std::vector<std::string> words) {
    words.insert(words.begin(), {"launch", "{model: /m, port: 1111, serving: {max_num_seqs: 1, threads: 1, seed: 1}}"});
    std::reverse(words.begin(), words.end());
    app.parse(words);
    return plan;
  }
};

struct variable {
  explicit variable(const char* n, const char* value) : name(n) { ::setenv(name, value, 1); }
  ~variable() { ::unsetenv(name); }
  const char* name;
};

std::string refusal(std::vector<std::string> words) {
  command_line line;
  try {
    line.parse(std::move(words));
  } catch (const CLI::ParseError& e) {
    return e.what();
  }
  return {};
}

} // namespace

BOOST_AUTO_TEST_SUITE(flag_file)

BOOST_AUTO_TEST_CASE(the_command_line_goes_over_the_file_over_the_environment_over_the_recipe) {
  const test::temp_dir dir;
  dir.write("flags.yaml", "max-num-seqs: 3\nmax_model_len: 300\nhost: 10.0.0.3\napi-key: [first, second]\n");
  const variable seqs("TROUPE_SERVE_MAX_NUM_SEQS", "2"), threads("TROUPE_SERVE_THREADS", "2"),
      host("TROUPE_SERVE_HOST", "10.0.0.2");
  command_line line;

  const auto& plan = line.parse({"--host", "10.0.0.4", "--config", (dir.path() / "flags.yaml").string()});

  BOOST_TEST(plan.front.host == "10.0.0.4");
  BOOST_TEST(plan.serving.max_num_seqs == 3);
  BOOST_TEST(plan.serving.max_model_len == 300);
  BOOST_TEST(plan.serving.threads == 2);
  BOOST_TEST(plan.serving.seed == 1u);
  BOOST_TEST(plan.front.port == 1111);
  BOOST_TEST(plan.front.api_keys == (std::vector<std::string>{"first", "second"}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(names_that_users_of_vllm_and_sglang_type_are_understood) {
  command_line line;
  const auto& plan = line.parse({"--context-length", "100", "--max-running-requests", "5", "--chunked-prefill-size",
                                 "64", "--reasoning-parser", "deepseek-r1", "--enable-chunked-prefill",
                                 "--trust-remote-code", "--mem-fraction-static", "0.5", "--random-seed", "9"});
  BOOST_TEST(plan.serving.max_model_len == 100);
  BOOST_TEST(plan.serving.max_num_seqs == 5);
  BOOST_TEST(plan.serving.max_num_batched_tokens == 64);
  BOOST_TEST(plan.serving.kv_cache_ratio == 0.5);
  BOOST_TEST(plan.serving.seed == 9u);
}

BOOST_AUTO_TEST_CASE(wrong_files_are_refused_in_one_line) {
  const test::temp_dir dir;
  const auto with = [&](std::string_view text) {
    dir.write("flags.yaml", text);
    return refusal({"--config", (dir.path() / "flags.yaml").string()});
  };
  BOOST_TEST(with("") == "");
  BOOST_TEST(with("max-num-sequences: 3\n") == "--config: launch has no flag --max-num-sequences");
  BOOST_TEST(with("- a\n") == "--config: expected flag: value");
  BOOST_TEST(with("a: [").starts_with("--config: "));
  BOOST_TEST(with("max-num-seqs: {a: b}\n").starts_with("--config: "));
  BOOST_TEST(!with("max-num-seqs: many\n").empty());
  BOOST_TEST(!with("max-num-seqs: 0\n").empty());
  BOOST_TEST(!refusal({"--config", (dir.path() / "none.yaml").string()}).empty());
}

BOOST_AUTO_TEST_CASE(determinism_is_on_or_off) {
  BOOST_TEST(refusal({"--deterministic", "on"}) == "");
  BOOST_TEST(refusal({"--deterministic=off"}) == "");
  BOOST_TEST(!refusal({"--deterministic", "maybe"}).empty());
}

BOOST_AUTO_TEST_CASE(a_cache_dtype_is_one_of_four_words) {
  command_line line;
  BOOST_TEST(line.plan.serving.kv_cache_dtype == "auto");
  BOOST_TEST(line.parse({"--kv-cache-dtype", "fp8_ds_mla"}).serving.kv_cache_dtype == "fp8_ds_mla");
  BOOST_TEST(refusal({"--kv-cache-dtype", "fp8"}) == "");
  BOOST_TEST(!refusal({"--kv-cache-dtype", "int4"}).empty());
}

BOOST_AUTO_TEST_CASE(an_instruction_set_is_one_of_four_words) {
  command_line line;
  BOOST_TEST(line.plan.serving.isa == "auto");
  BOOST_TEST(line.parse({"--isa", "avx2"}).serving.isa == "avx2");
  BOOST_TEST(!refusal({"--isa", "avx9"}).empty());
}

BOOST_AUTO_TEST_SUITE_END()
