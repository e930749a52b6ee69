// Tokens drawn on the GPU against the CPU's sampler: the same ones, always.
#include "kernels/cpu/sample.hpp"
#include "kernels/cuda/sample.hpp"
#include "tests/gpu/device_buffer.hpp"
#include "tests/support/test_seed.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

using namespace troupe;
using namespace troupe::cuda;
using kernels::score_edit;
using testing::pick;

namespace {

struct batch {
  int width = 0, vocab_size = 0;
  std::vector<float> logits; // [rows, width]
  std::vector<sample_row> rows;
  std::vector<score_edit> edits;

  std::span<const score_edit> edits_of(const sample_row& row) const {
    return std::span(edits).subspan(std::size_t(row.first_edit), std::size_t(row.edit_count));
  }
  std::vector<int> on_cpu() const {
    kernels::token_sampler sampler;
    std::vector<int> tokens;
    for (const auto& row : rows)
      tokens.push_back(sampler.sample(std::span(logits).subspan(std::size_t(row.row) * width, width), vocab_size,
                                      row.draw, edits_of(row)));
    return tokens;
  }
};

bool any(const batch& b, auto what) { return std::any_of(b.rows.begin(), b.rows.end(), what); }

/// As on_cpu(), plus a poisoned token behind the last; the logits are as before.
std::vector<int> on_gpu(const batch& b) {
  const test::device_buffer<float> logits(b.logits), unedited(b.edits.size());
  const test::device_buffer<sample_row> rows(b.rows);
  const test::device_buffer<score_edit> edits(b.edits);
  const test::device_buffer<std::byte> workspace(sample_workspace_bytes(int(b.rows.size())));
  const test::device_buffer<int> tokens(b.rows.size() + 1);
  sample_args args;
  args.logits = logits.get(), args.rows = rows.get(), args.edits = edits.get(), args.unedited = unedited.get();
  args.workspace = workspace.get(), args.tokens = tokens.get();
  args.row_count = int(b.rows.size()), args.width = b.width, args.vocab_size = b.vocab_size;
  args.edits_any = any(b, [](auto& r) { return r.edit_count > 0; });
  args.top_k_any = any(b, [](auto& r) { return r.draw.top_k > 0; });
  args.top_p_any = any(b, [](auto& r) { return r.draw.top_p > 0; });
  BOOST_REQUIRE_EQUAL(sample_rows(args, nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);
  const auto after = logits.host();
  BOOST_TEST(std::equal(after.begin(), after.end(), b.logits.begin(),
                        [](float x, float y) { return std::memcmp(&x, &y, sizeof x) == 0; }),
             "logits have changed");
  return tokens.host();
}

struct random_batches {
  std::mt19937_64 random{testing::fresh_seed()};

  auto one_of(auto... values) {
    const std::array options{values...};
    return options[random() % options.size()];
  }

  void fill_row(std::span<float> row) {
    const float spread = one_of(1e-42f, 0.01f, 2.0f, 2.0f, 30.0f, 3e4f);
    std::normal_distribution<float> normal(one_of(0.0f, 0.0f, -20.0f, 15.0f), spread);
    const bool ties = pick(random, 0, 2) == 0, holes = pick(random, 0, 3) == 0;
    for (auto& x : row) {
      x = normal(random);
      if (ties) x = std::round(x);
      if (holes && pick(random, 0, 1)) x = -INFINITY;
    }
    if (pick(random, 0, 9) == 0) std::fill(row.begin(), row.end(), one_of(1.0f, -0.0f, -INFINITY));
    if (pick(random, 0, 19) == 0) row[random() % row.size()] = one_of(NAN, -NAN, INFINITY);
  }

  kernels::token_draw draw() {
    kernels::token_draw d;
    d.inverse_temperature = one_of(0.0f, 1.0f, 1 / 0.6f, 0.5f, 1e5f, 1e-3f, 3e-39f);
    d.top_k = one_of(0, 0, 1, 2, 50, 1000, 1 << 30);
    d.top_p =
        one_of(std::uint64_t{0}, std::uint64_t(0.95f * 0x1p64), std::uint64_t(0x1p63), std::uint64_t{1}, random());
    d.weight_min = one_of(std::uint64_t{0}, std::uint64_t{0}, kernels::weight_of_best / 20, kernels::weight_of_best);
    d.uniform = one_of(random(), random(), random(), std::uint64_t{0}, ~std::uint64_t{0});
    d.repetition_penalty = one_of(1.0f, 1.3f, 0.7f, 1e-30f);
    d.presence_penalty = one_of(0.0f, 0.7f, -1.5f), d.frequency_penalty = one_of(0.0f, 0.11f, -0.2f, 1e38f);
    return d;
  }

  batch make(int row_count, int width, int vocab_size) {
    batch b{.width = width, .vocab_size = vocab_size};
    b.logits.resize(std::size_t(row_count) * width);
    std::vector<int> tokens(width);
    std::iota(tokens.begin(), tokens.end(), 0);
    for (int r = 0; r < row_count; ++r) {
      fill_row(std::span(b.logits).subspan(std::size_t(r) * width, width));
      sample_row row{draw(), row_count - 1 - r, int(b.edits.size()), 0};
      if (pick(random, 0, 1)) row.edit_count = pick(random, 0, std::min(width, 700));
      std::vector<int> chosen;
      std::sample(tokens.begin(), tokens.end(), std::back_inserter(chosen), row.edit_count, random);
      for (const int token : chosen) b.edits.push_back({token, pick(random, -1, 3)});
      b.rows.push_back(row);
    }
    return b;
  }
};

void agree(const batch& b) {
  auto want = b.on_cpu();
  want.push_back(-1); // poison: not written
  const auto got = on_gpu(b);
  for (std::size_t r = 0; r < want.size(); ++r)
    BOOST_TEST(got[r] == want[r], "row " << r << " of " << b.rows.size() << " x " << b.width << ": token " << got[r]
                                         << " instead of " << want[r]);
}

} // namespace

BOOST_AUTO_TEST_SUITE(sample, *boost::unit_test::precondition(test::needs_gpu))

BOOST_DATA_TEST_CASE(tokens_are_those_of_the_cpu, boost::unit_test::data::make({1, 2, 31, 1024, 2048, 5000, 129280}),
                     width) {
  random_batches make;
  const int rounds = width > 10000 ? 2 : 20;
  for (int round = 0; round < rounds; ++round)
    for (const int row_count : {0, 1, 3, 64})
      agree(make.make(row_count, width, round % 2 ? width : std::max(1, width - 7)));
}

/// As a server has them: mostly one set of parameters, logits in a normal range.
BOOST_AUTO_TEST_CASE(nuclei_of_a_large_vocabulary_are_those_of_the_cpu) {
  random_batches make;
  for (const float spread : {1.0f, 2.5f, 8.0f}) {
    auto b = make.make(16, 129280, 128815);
    std::normal_distribution<float> normal(0, spread);
    for (auto& x : b.logits) x = normal(make.random);
    for (auto& row : b.rows) {
      row.edit_count = 0;
      row.draw = {.inverse_temperature = 1 / 0.6f, .top_p = std::uint64_t(0.95f * 0x1p64), .uniform = make.random()};
    }
    agree(b);
  }
}

/// The bits of the weights, through which everything else goes: every one of some tokens' weights decides somewhere.
BOOST_AUTO_TEST_CASE(draws_at_the_edges_of_tokens_are_those_of_the_cpu) {
  random_batches make;
  batch b{.width = 300, .vocab_size = 300};
  b.logits.resize(300);
  std::normal_distribution<float> normal(0, 3);
  for (auto& x : b.logits) x = normal(make.random);
  const float best = *std::max_element(b.logits.begin(), b.logits.end());
  kernels::token_draw draw{.inverse_temperature = 1 / 0.7f};
  std::uint64_t mass = 0, below = 0;
  for (const float x : b.logits) mass += kernels::weight_of(x, best, draw);
  for (const float x : b.logits) { // the last draw of this token, and the first of the next
    below += kernels::weight_of(x, best, draw);
    draw.uniform = std::uint64_t((static_cast<unsigned __int128>(below) << 64) / mass);
    for (int step = 0; step < 2; ++step, ++draw.uniform) b.rows.push_back({draw, 0, 0, 0});
  }
  b.rows.resize(b.rows.size() - 2); // the whole mass is no draw
  agree(b);
}

BOOST_AUTO_TEST_CASE(a_captured_launch_replays) {
  random_batches make;
  const auto b = make.make(5, 3000, 3000);
  const test::device_buffer<float> logits(b.logits), unedited(b.edits.size());
  const test::device_buffer<sample_row> rows(b.rows);
  const test::device_buffer<score_edit> edits(b.edits);
  const test::device_buffer<std::byte> workspace(sample_workspace_bytes(5));
  const test::device_buffer<int> tokens(5);
  const sample_args args{logits.get(), rows.get(), edits.get(), unedited.get(), workspace.get(),
                         tokens.get(), 5,          3000,        3000,           true,
                         true,         true};
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  BOOST_REQUIRE_EQUAL(cudaStreamCreate(&stream), cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
  BOOST_REQUIRE_EQUAL(sample_rows(args, stream), cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaGraphInstantiate(&replay, graph, 0), cudaSuccess);
  for (int times = 0; times < 3; ++times) {
    BOOST_REQUIRE_EQUAL(cudaMemsetAsync(tokens.get(), 0xFF, 5 * sizeof(int), stream), cudaSuccess);
    BOOST_REQUIRE_EQUAL(cudaGraphLaunch(replay, stream), cudaSuccess);
    BOOST_REQUIRE_EQUAL(cudaStreamSynchronize(stream), cudaSuccess);
    BOOST_TEST(tokens.host() == b.on_cpu(), boost::test_tools::per_element());
  }
  cudaGraphExecDestroy(replay), cudaGraphDestroy(graph), cudaStreamDestroy(stream);
}

BOOST_AUTO_TEST_SUITE_END()
