// The CUDA engine on random weights: against the double-precision model, and bit by bit against itself.
#include "runtime/exec/cpu_model.hpp"
#include "tests/gpu/engine_rig.hpp"
#include "tests/support/test_seed.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <functional>

using namespace troupe;
using namespace troupe::exec;
using namespace troupe::testing;
using kernels::tensor_type;

namespace {

struct variant {
  std::string name;
  std::function<void(model::model_config&)> change;
  tensor_type type = tensor_type::bf16;
};
std::ostream& operator<<(std::ostream& out, const variant& v) { return out << v.name; }

using config = model::model_config;
const std::vector<variant> variants = {
    {"BF16", [](config&) {}},
    {"FP8", [](config&) {}, tensor_type::f8_e4m3},
    {"F32", [](config&) {}, tensor_type::f32},
    {"FP8 that the grouped kernels do not take", [](config& c) { c.moe_intermediate_size = 192; },
     tensor_type::f8_e4m3},
    {"one query projection", [](config& c) { c.q_lora_rank = 0; }},
    {"no shared expert", [](config& c) { c.shared_expert_count = 0; }},
    {"attention biases", [](config& c) { c.attention_bias = true; }},
    {"rope in halves", [](config& c) { c.rope_interleave = false; }},
    {"tied embeddings", [](config& c) { c.tie_word_embeddings = true; }},
    {"V2: softmax, group-limited",
     [](config& c) {
       c.scoring_func = model::scoring::softmax, c.topk = model::topk_method::group_limited_greedy;
       c.norm_topk_prob = false;
     }},
};

/// Hides that the experts are on the same device: rows go through the host, as to actors elsewhere.
class far_away final : public expert_client {
 public:
  explicit far_away(expert_client& to) : to_(to) {}
  result<void> start(layer_index layer, const moe::routing& choice, std::span<const float> inputs) override {
    return to_.start(layer, choice, inputs);
  }
  result<void> finish(std::span<float> out) override { return to_.finish(out); }

 private:
  expert_client& to_;
};

/// Weights that have to be read, although they are random.
class read_weights final : public weight_source {
 public:
  explicit read_weights(weight_source& from) : from_(from) {}
  std::optional<tensor_type> type_of(const std::string& name) const override { return from_.type_of(name); }
  result<stored_matrix> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) override {
    return from_.matrix(name, rows, cols);
  }
  result<std::vector<float>> vector(const std::string& name, std::int64_t size) override {
    return from_.vector(name, size);
  }

 private:
  weight_source& from_;
};

struct random_model {
  std::mt19937_64 random;
  model::model_config config = gpu_test::small_config();
  random_weights weights;
  explicit random_model(tensor_type type, std::uint64_t seed = fresh_seed()) : random(seed), weights(seed, type) {}
  std::vector<token_id> tokens(int count) { return random_tokens(random, count, config.vocab_size); }
};

/// Logits of drafts that follow every row of the last forward(), one group each.
template <class Engine>
logit_rows all_drafts(engine_rig& rig, std::span<const token_id> next, std::span<const page_id> pages) {
  std::vector<draft_group> groups;
  for (std::size_t i = 0; i < next.size(); ++i)
    groups.push_back({static_cast<std::int32_t>(i), static_cast<std::int32_t>(i), next.subspan(i, 1), pages});
  rig.device->draft(groups, *rig.experts).value();
  const auto& engine = dynamic_cast<const Engine&>(*rig.device);
  logit_rows rows;
  for (std::size_t i = 0; i < next.size(); ++i) {
    const auto row = engine.draft_logits(static_cast<std::int32_t>(i));
    rows.emplace_back(row.begin(), row.end());
  }
  return rows;
}

/// One decode step of five sequences, one of them with a draft: six rows, which a graph pads to eight.
struct decode_step {
  std::vector<std::vector<token_id>> tokens, next;
  std::vector<std::vector<page_id>> pages;
  std::vector<row_group> groups;
  std::vector<draft_group> drafts;

  decode_step(random_model& m, engine& device, expert_client& experts) {
    for (std::uint32_t s = 0; s < 5; ++s)
      tokens.push_back(m.tokens(30 + 31 * static_cast<int>(s))), pages.push_back(pages_from(s, 160, 5)),
          next.push_back(m.tokens(2));
    std::int32_t row = 0;
    for (std::size_t s = 0; s < tokens.size(); ++s) {
      const auto size = tokens[s].size(), rows = std::size_t{s == 2 ? 2u : 1u};
      const auto all = std::span<const token_id>(tokens[s]);
      const row_group prompt{.tokens = all.first(size - rows), .pages = pages[s], .logit_rows = 0};
      device.forward({&prompt, 1}, experts).value();
      const auto first = static_cast<std::int32_t>(size - rows);
      groups.push_back({all.last(rows), first, pages[s], static_cast<std::int32_t>(rows)});
      drafts.push_back({row, first, std::span<const token_id>(next[s]).first(rows), pages[s], s != 3});
      row += static_cast<std::int32_t>(rows);
    }
  }

  struct outcome {
    logit_rows logits, draft_logits;
    std::vector<token_id> drafts;
    bool operator==(const outcome&) const = default;
  };
  outcome run(cuda_model& device, expert_client& experts) const {
    outcome o;
    device.forward(groups, experts).value();
    o.logits = copy_logits(device, 0, 6);
    o.drafts = device.draft(drafts, experts).value();
    for (std::int32_t i = 0; i < 4; ++i) {
      const auto row = device.draft_logits(i);
      o.draft_logits.emplace_back(row.begin(), row.end());
    }
    return o;
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(engine_model, *boost::unit_test::precondition(troupe::test::needs_gpu))

/// No further from the truth than 1.5 times the CPU's bf16 engine, or than the W8A8 emulation where weights are FP8.
/// Every token goes to every expert: a gate that a rounding tips over would hide what a product costs.
BOOST_DATA_TEST_CASE(errs_no_more_than_the_formats_do, boost::unit_test::data::make(variants), v) {
  random_model m(v.type);
  v.change(m.config);
  m.config.topk_group = m.config.group_count, m.config.experts_per_token = m.config.expert_count;
  const auto tokens = m.tokens(24), next = m.tokens(24);
  const auto pages = pages_from(5, 24);
  exec::test::reference_model exact(m.weights, m.config), rounded(m.weights, m.config, true);
  const auto hidden = exact.hidden(tokens), hidden8 = rounded.hidden(tokens);
  const auto want = exact.logits(hidden), want_drafts = exact.draft_logits(hidden, next);
  auto cpu = make_rig(m.weights, m.config, {.dtype = cpu_dtype::bfloat16, .threads = 4});
  auto gpu = gpu_test::make_gpu_rig(m.weights, m.config), free = gpu_test::make_gpu_rig(m.weights, m.config, 64, false);
  using gpu_test::quartile_error, gpu_test::to_floats;

  const double got = quartile_error(want, run_alone(gpu, tokens, pages, std::vector{24}));
  const double got_drafts = quartile_error(want_drafts, all_drafts<cuda_model>(gpu, next, pages));
  const double got_free = quartile_error(want, run_alone(free, tokens, pages, std::vector{24}));
  const double on_cpu = quartile_error(want, run_alone(cpu, tokens, pages, std::vector{24}));
  const double cpu_drafts = quartile_error(want_drafts, all_drafts<cpu_model>(cpu, next, pages));
  const double emulated = quartile_error(want, to_floats(rounded.logits(hidden8)));
  const double emulated_drafts = quartile_error(want_drafts, to_floats(rounded.draft_logits(hidden8, next)));

  std::cout << v.name << ": row error " << got << " (" << got_free << " with --deterministic=off), CPU " << on_cpu
            << ", W8A8 emulation " << emulated << "; drafts " << got_drafts << ", " << cpu_drafts << ", "
            << emulated_drafts << std::endl;
  BOOST_TEST(got <= 1.5 * std::max(emulated, on_cpu));
  BOOST_TEST(got_free <= 1.5 * std::max(emulated, on_cpu));
  BOOST_TEST(got_drafts <= 1.5 * std::max(emulated_drafts, cpu_drafts));
}

/// Alone or among others, in one chunk or many, on other pages: the same bits (contract 2).
BOOST_DATA_TEST_CASE(a_row_does_not_depend_on_its_batch, boost::unit_test::data::make({false, true}), fp8) {
  random_model m(fp8 ? tensor_type::f8_e4m3 : tensor_type::bf16);
  auto rig = gpu_test::make_gpu_rig(m.weights, m.config);
  const auto a = m.tokens(150), b = m.tokens(5), c = m.tokens(70);
  const auto pages_a = pages_from(0, 150), pages_b = pages_from(9, 5), pages_c = pages_from(20, 70, 3);

  const auto whole = run_alone(rig, a, pages_a, std::vector{150});
  BOOST_TEST((run_alone(rig, a, pages_from(40, 150, 2), std::vector{17, 1, 40, 3}) == whole));
  const std::vector<row_group> groups = {{.tokens = b, .pages = pages_b, .logit_rows = 5},
                                         {.tokens = a, .pages = pages_a, .logit_rows = 150},
                                         {.tokens = c, .pages = pages_c, .logit_rows = 1}};
  rig.device->forward(groups, *rig.experts).value();
  BOOST_TEST((copy_logits(*rig.device, 5, 150) == whole));
  const auto of_b = copy_logits(*rig.device, 0, 5), of_c = copy_logits(*rig.device, 155, 1);
  rig.device->forward(groups, *rig.experts).value(); // again, as after a lost answer
  BOOST_TEST((copy_logits(*rig.device, 5, 150) == whole));
  BOOST_TEST((run_alone(rig, b, pages_b, std::vector{1}) == of_b));
  BOOST_TEST((run_alone(rig, c, pages_c, std::vector{64, 6}).back() == of_c.front()));
}

/// BF16 experts over sorted rows, from 256 on, give the bits of slots.
BOOST_AUTO_TEST_CASE(many_rows_of_bf16_experts_have_the_bits_of_few) {
  random_model m(tensor_type::bf16);
  auto rig = gpu_test::make_gpu_rig(m.weights, m.config);
  const auto tokens = m.tokens(300);
  const auto pages = pages_from(0, 300);
  const auto whole = run_alone(rig, tokens, pages, std::vector{300});

  BOOST_TEST((run_alone(rig, tokens, pages, std::vector{100, 9, 191}) == whole));
}

/// The same with 656-byte entries, prefilled and decoded, launched and replayed; and no further from the model with
/// rounded entries than the CPU's engine.
BOOST_AUTO_TEST_CASE(an_fp8_cache_keeps_rows_apart_and_errs_as_the_cpus) {
  random_model m(tensor_type::bf16);
  m.config.topk_group = m.config.group_count, m.config.experts_per_token = m.config.expert_count;
  constexpr auto codes = cache_dtype::fp8_ds_mla;
  auto rig = gpu_test::make_gpu_rig(m.weights, m.config, 64, true, codes);
  const auto a = m.tokens(150), c = m.tokens(70);
  const auto pages_a = pages_from(0, 150), pages_c = pages_from(20, 70, 3);

  const auto whole = run_alone(rig, a, pages_a, std::vector{150});
  BOOST_TEST((run_alone(rig, a, pages_from(40, 150, 2), std::vector{17, 1, 1, 1, 1, 40, 1}) == whole));
  const std::vector<row_group> groups = {{.tokens = c, .pages = pages_c, .logit_rows = 0},
                                         {.tokens = a, .pages = pages_a, .logit_rows = 150}};
  rig.device->forward(groups, *rig.experts).value();
  BOOST_TEST((copy_logits(*rig.device, 0, 150) == whole));

  const auto some = std::vector<token_id>(a.begin(), a.begin() + 24);
  exec::test::reference_model rounded(m.weights, m.config);
  rounded.round_entries();
  const auto want = rounded.logits(rounded.hidden(some));
  auto cpu = make_rig(m.weights, m.config, {.dtype = cpu_dtype::bfloat16, .threads = 4, .cache = codes});
  const double on_cpu = gpu_test::quartile_error(want, run_alone(cpu, some, pages_a, std::vector{24}));
  const double got = gpu_test::quartile_error(want, run_alone(rig, some, pages_a, std::vector{24}));
  std::cout << "FP8 cache: row error " << got << ", CPU " << on_cpu << std::endl;
  BOOST_TEST(got <= 1.5 * on_cpu);
}

/// A context of several attention parts gives the same bits whatever else makes the page tables longer.
BOOST_AUTO_TEST_CASE(a_longer_neighbour_changes_nothing) {
  random_model m(tensor_type::f8_e4m3);
  auto rig = gpu_test::make_gpu_rig(m.weights, m.config);
  const auto a = m.tokens(1100), b = m.tokens(2100);
  const auto pages_a = pages_from(0, 1200), pages_b = pages_from(20, 2200);
  const auto prefill = [&](std::span<const token_id> tokens, std::span<const page_id> pages) {
    const row_group group{.tokens = tokens.first(tokens.size() - 1), .pages = pages, .logit_rows = 0};
    rig.device->forward({&group, 1}, *rig.experts).value();
  };
  prefill(a, pages_a), prefill(b, pages_b);
  const std::vector<row_group> both = {{.tokens = std::span(b).last(1), .first_position = 2099, .pages = pages_b},
                                       {.tokens = std::span(a).last(1), .first_position = 1099, .pages = pages_a}};
  rig.device->forward({&both[1], 1}, *rig.experts).value();
  const auto alone = copy_logits(*rig.device, 0, 1);
  rig.device->forward(both, *rig.experts).value();
  BOOST_TEST((copy_logits(*rig.device, 1, 1) == alone));
}

/// --deterministic=off: chunks long enough for expanded attention and sorted experts, with a past and beside others. No
/// further from the row-by-row way than two engines are that err as much as it does.
BOOST_DATA_TEST_CASE(long_chunks_err_no_more_than_rows_do, boost::unit_test::data::make({false, true}), fp8) {
  random_model m(fp8 ? tensor_type::f8_e4m3 : tensor_type::bf16);
  const auto few = m.tokens(24), a = m.tokens(1500), b = m.tokens(5), c = m.tokens(70);
  const auto pages_few = pages_from(5, 24), pages_a = pages_from(0, 1500, 2), pages_b = pages_from(1, 5),
             pages_c = pages_from(3, 70, 2);
  auto rows = gpu_test::make_gpu_rig(m.weights, m.config),
       free = gpu_test::make_gpu_rig(m.weights, m.config, 64, false);
  exec::test::reference_model exact(m.weights, m.config);
  const double usual =
      gpu_test::quartile_error(exact.logits(exact.hidden(few)), run_alone(rows, few, pages_few, std::vector{24}));
  const auto want = run_alone(rows, a, pages_a, std::vector{1500});

  const double in_chunks = gpu_test::quartile_error(want, run_alone(free, a, pages_a, std::vector{300, 37, 1163}));
  const std::vector<row_group> groups = {{.tokens = b, .pages = pages_b, .logit_rows = 5},
                                         {.tokens = a, .pages = pages_a, .logit_rows = 1500},
                                         {.tokens = c, .pages = pages_c, .logit_rows = 70}};
  free.device->forward(groups, *free.experts).value();
  const double among_others = gpu_test::quartile_error(want, copy_logits(*free.device, 5, 1500));
  const double neighbour =
      gpu_test::quartile_error(run_alone(rows, c, pages_c, std::vector{70}), copy_logits(*free.device, 1505, 70));
  std::cout << (fp8 ? "FP8" : "BF16") << ": usual error " << usual << "; distance in chunks " << in_chunks
            << ", among others " << among_others << ", of a neighbour " << neighbour << std::endl;
  BOOST_TEST(in_chunks <= 2 * usual);
  BOOST_TEST(among_others <= 2 * usual);
  BOOST_TEST(neighbour <= 2 * usual);
}

BOOST_DATA_TEST_CASE(experts_here_and_elsewhere_give_the_same_bits, boost::unit_test::data::make({false, true}), fp8) {
  random_model m(fp8 ? tensor_type::f8_e4m3 : tensor_type::bf16);
  auto rig = gpu_test::make_gpu_rig(m.weights, m.config);
  const auto tokens = m.tokens(40);
  const auto pages = pages_from(0, 40);
  const auto here = run_alone(rig, tokens, pages, std::vector{40});

  auto local = std::move(rig.experts);
  rig.experts = std::make_unique<far_away>(*local);
  BOOST_TEST((run_alone(rig, tokens, pages, std::vector{40}) == here));

  const auto where = moe::place_evenly(m.config.expert_count, 3, 1);
  std::vector<std::unique_ptr<expert_engine>> shards;
  for (std::uint32_t s = 0; s < 3; ++s)
    shards.push_back(gpu_test::make_gpu_experts(m.weights, m.config, where.experts_of(shard_id{s})));
  rig.experts =
      std::make_unique<local_expert_client>(std::move(shards), where, m.config.hidden_size, moe::element::bf16);
  BOOST_TEST((run_alone(rig, tokens, pages, std::vector{13}) == here));

  auto halves = std::make_unique<troupe::testing::overlapped_experts>(std::move(rig.experts));
  const auto& watched = *halves;
  rig.experts = std::move(halves);
  for (const int rows : {40, 13, 1}) BOOST_TEST((run_alone(rig, tokens, pages, std::vector{rows}) == here));
  BOOST_TEST(watched.most_open() == 2);
}

BOOST_DATA_TEST_CASE(random_weights_are_the_same_wherever_they_are_made, boost::unit_test::data::make({false, true}),
                     fp8) {
  random_model m(fp8 ? tensor_type::f8_e4m3 : tensor_type::bf16);
  read_weights from_host(m.weights);
  auto made = gpu_test::make_gpu_rig(m.weights, m.config), read = gpu_test::make_gpu_rig(from_host, m.config);
  const auto tokens = m.tokens(20);
  const auto pages = pages_from(0, 20);
  BOOST_TEST((run_alone(made, tokens, pages, std::vector{20}) == run_alone(read, tokens, pages, std::vector{20})));
}

BOOST_DATA_TEST_CASE(replayed_steps_have_the_bits_of_single_launches, boost::unit_test::data::make({false, true}),
                     fp8) {
  random_model m(fp8 ? tensor_type::f8_e4m3 : tensor_type::bf16);
  auto rig = gpu_test::make_gpu_rig(m.weights, m.config);
  auto& device = dynamic_cast<cuda_model&>(*rig.device);
  const decode_step step(m, device, *rig.experts);
  far_away far(*rig.experts); // never a graph, never a row too many
  const auto want = step.run(device, far);
  BOOST_TEST(want.drafts[3] == -1);
  for (std::size_t i = 0, next = 0; i < 5; ++i) {
    if (i == 3) continue;
    const auto& row = want.draft_logits[next++];
    BOOST_TEST(want.drafts[i] == std::max_element(row.begin(), row.end()) - row.begin());
  }

  for (int i = 0; i < 5; ++i) BOOST_TEST((step.run(device, *rig.experts) == want)); // launched, captured, replayed
  const auto tokens = m.tokens(400);
  run_alone(rig, tokens, pages_from(30, 400), std::vector{400}); // scratch memory moves
  for (int i = 0; i < 4; ++i) BOOST_TEST((step.run(device, *rig.experts) == want));
}

BOOST_AUTO_TEST_CASE(bad_input_is_refused_and_leaves_the_engine_usable) {
  random_model m(tensor_type::bf16);
  auto rig = gpu_test::make_gpu_rig(m.weights, m.config, 2);
  const std::vector<token_id> good{1, 2}, bad{1, 5000};
  const auto pages = pages_from(0, 2), outside = pages_from(7, 2);
  const auto run = [&](std::span<const token_id> tokens, std::span<const page_id> on) {
    const row_group group{.tokens = tokens, .pages = on};
    return rig.device->forward({&group, 1}, *rig.experts);
  };
  BOOST_TEST((run(bad, pages).error().code == errc::bad_input));
  BOOST_TEST((run(good, outside).error().code == errc::bad_input));
  BOOST_TEST(run(good, pages).has_value());
  auto shard = gpu_test::make_gpu_experts(m.weights, m.config, std::vector<expert_index>{1, 2});
  moe::shard_batch batch{.layer = 1, .type = moe::element::bf16, .hidden_size = 512};
  batch.inputs = segment::allocate(1024), batch.experts = {3}, batch.rows = {0};
  BOOST_TEST((shard->run(batch).error().code == errc::bad_input));
  batch.experts = {2}, batch.layer = 0; // dense
  BOOST_TEST((shard->run(batch).error().code == errc::bad_input));
}

BOOST_AUTO_TEST_SUITE_END()
