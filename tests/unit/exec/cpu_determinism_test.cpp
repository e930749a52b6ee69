// Contract 2: the bits of a request's logits depend on nothing but the request. One request is computed alone in one
// piece, and then in every other way a server might: each must give the same bits, drafts included.
#include "runtime/exec/cpu_model.hpp"
#include "runtime/exec/random_weights.hpp"
#include "tests/support/engine_rig.hpp"
#include "tests/support/test_seed.hpp"

#include <algorithm>
#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>
#include <boost/test/unit_test.hpp>
#include <cstring>

using namespace troupe;
using namespace troupe::exec;
using namespace troupe::testing;

namespace {

constexpr int crowd_size = 32;
constexpr int pages_each = 5;

/// What a request leaves behind: logits of every row, and of the MTP module at every row.
struct trace {
  logit_rows logits;
  logit_rows drafts;
};

bool same_bits(const logit_rows& a, const logit_rows& b) {
  if (a.size() != b.size() || a.empty()) return false;
  for (std::size_t r = 0; r < a.size(); ++r)
    if (a[r].size() != b[r].size() || std::memcmp(a[r].data(), b[r].data(), a[r].size() * sizeof(float)) != 0)
      return false;
  return true;
}
bool same_bits(const trace& a, const trace& b) {
  return same_bits(a.logits, b.logits) && same_bits(a.drafts, b.drafts);
}

struct sequence {
  std::vector<token_id> tokens;
  std::vector<page_id> pages;
  int done = 0;

  int left() const { return static_cast<int>(tokens.size()) - done; }
};

/// One step of `sequences`, `counts[i]` rows of each, with drafts at every row; returns what the first one got.
trace step(engine_rig& rig, std::vector<sequence>& sequences, const std::vector<int>& counts) {
  std::vector<row_group> groups;
  std::vector<draft_group> drafts;
  std::int32_t first_row = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    auto& s = sequences[i];
    if (counts[i] == 0) continue;
    const auto rows =
        std::span(s.tokens).subspan(static_cast<std::size_t>(s.done), static_cast<std::size_t>(counts[i]));
    groups.push_back({rows, s.done, s.pages, i == 0 ? counts[i] : 0});
    for (int r = 0; r < counts[i]; ++r) // any token may follow; the row's own is as good as another
      drafts.push_back({first_row + r, s.done + r, rows.subspan(static_cast<std::size_t>(r), 1), s.pages, i == 0});
    first_row += counts[i];
    s.done += counts[i];
  }
  rig.device->forward(groups, *rig.experts).value();
  trace got{copy_logits(*rig.device, 0, static_cast<std::size_t>(counts[0])), {}};
  rig.device->draft(drafts, *rig.experts).value();
  const auto& engine = dynamic_cast<const cpu_model&>(*rig.device);
  for (int r = 0; r < counts[0]; ++r)
    got.drafts.emplace_back(engine.draft_logits(r).begin(), engine.draft_logits(r).end());
  return got;
}

void append(trace& to, trace&& from) {
  std::move(from.logits.begin(), from.logits.end(), std::back_inserter(to.logits));
  std::move(from.drafts.begin(), from.drafts.end(), std::back_inserter(to.drafts));
}

/// Alone, in chunks of 1 to `chunk_max` rows.
trace run_in_chunks(engine_rig& rig, sequence request, std::mt19937_64& random, int chunk_max) {
  std::vector sequences{std::move(request)};
  trace all;
  while (sequences[0].left() > 0)
    append(all, step(rig, sequences, {std::min(sequences[0].left(), pick(random, 1, chunk_max))}));
  return all;
}

/// Among 31 others that come with chunks of their own, rest for a step, or end early.
trace run_in_a_crowd(engine_rig& rig, sequence request, std::mt19937_64& random, int vocab_size) {
  std::vector sequences{std::move(request)};
  for (int i = 1; i < crowd_size; ++i)
    sequences.push_back({random_tokens(random, pick(random, 1, 50), vocab_size),
                         pages_from(static_cast<std::uint32_t>(i), pages_each * 64, crowd_size)});
  trace all;
  while (sequences[0].left() > 0) {
    std::vector<int> counts;
    for (const auto& s : sequences) counts.push_back(std::min(s.left(), pick(random, 0, 2) * pick(random, 1, 20)));
    counts[0] = std::max(counts[0], 1);
    append(all, step(rig, sequences, counts));
  }
  return all;
}

/// R1's per-head dimensions, so that the tiles and blocks of the kernels are full ones; edges come from the tiny shape.
model::model_config r1_heads() {
  auto c = named_shape("small").value();
  c.vocab_size = 100, c.hidden_size = 128, c.layer_count = 2, c.head_count = 2, c.q_lora_rank = 128;
  c.intermediate_size = 128, c.moe_intermediate_size = 128;
  return c;
}

struct setting {
  std::string name;
  model::model_config config;
  kernels::tensor_type type;
  cpu_dtype dtype;
  cache_dtype cache = cache_dtype::automatic;
};
std::ostream& operator<<(std::ostream& out, const setting& s) { return out << s.name; }

const std::vector<setting> settings = {
    {"tiny shape, F32 weights, float32", named_shape("tiny").value(), kernels::tensor_type::f32, cpu_dtype::float32},
    {"tiny shape, BF16 weights, bfloat16", named_shape("tiny").value(), kernels::tensor_type::bf16,
     cpu_dtype::bfloat16},
    {"R1's heads, FP8 weights, float32", r1_heads(), kernels::tensor_type::f8_e4m3, cpu_dtype::float32},
    {"R1's heads, FP8 weights, bfloat16", r1_heads(), kernels::tensor_type::f8_e4m3, cpu_dtype::bfloat16},
    {"R1's heads, FP8 weights, bfloat16, FP8 cache", r1_heads(), kernels::tensor_type::f8_e4m3, cpu_dtype::bfloat16,
     cache_dtype::fp8_ds_mla},
};

} // namespace

BOOST_AUTO_TEST_SUITE(cpu_determinism)

BOOST_DATA_TEST_CASE(a_request_has_the_same_bits_however_it_is_computed, boost::unit_test::data::make(settings), s) {
  const auto seed = fresh_seed();
  std::mt19937_64 random(seed);
  random_weights weights(seed, s.type);
  const auto length = pick(random, 257, 300); // beyond one softmax step of 256 positions
  const sequence request{random_tokens(random, length, s.config.vocab_size),
                         pages_from(0, pages_each * 64, crowd_size)};

  for (const auto set : kernels::supported_isas()) {
    const auto rig_of = [&](int threads, int shards) {
      return make_rig(weights, s.config, {s.dtype, threads, shards, crowd_size * pages_each, set, s.cache});
    };
    BOOST_TEST_CONTEXT(kernels::name_of(set) << ", " << length << " tokens") {
      auto plain = rig_of(1, 1);
      const auto want = run_in_chunks(plain, request, random, 1'000'000); // the first chunk takes all or nearly all
      BOOST_TEST(same_bits(want, run_in_chunks(plain, request, random, 1)));
      BOOST_TEST(same_bits(want, run_in_chunks(plain, request, random, 100)));
      auto two = rig_of(2, 2);
      BOOST_TEST(same_bits(want, run_in_chunks(two, request, random, 40)));
      two.experts = std::make_unique<overlapped_experts>(std::move(two.experts));
      BOOST_TEST(same_bits(want, run_in_chunks(two, request, random, 40)), "in halves");
      BOOST_TEST(same_bits(want, run_in_a_crowd(two, request, random, s.config.vocab_size)), "in halves, in a crowd");
      BOOST_TEST(dynamic_cast<overlapped_experts&>(*two.experts).most_open() == 2);
      auto four = rig_of(2, 4);
      BOOST_TEST(same_bits(want, run_in_a_crowd(four, request, random, s.config.vocab_size)));
    }
  }
}

BOOST_AUTO_TEST_CASE(another_request_has_other_bits) {
  const auto seed = fresh_seed();
  std::mt19937_64 random(seed);
  random_weights weights(seed, kernels::tensor_type::bf16);
  const auto config = named_shape("tiny").value();
  auto rig = make_rig(weights, config, {.pages = crowd_size * pages_each});
  sequence request{random_tokens(random, 20, config.vocab_size), pages_from(0, 64)};

  const auto one = run_in_chunks(rig, request, random, 20);
  request.tokens[0] = (request.tokens[0] + 1) % config.vocab_size;
  const auto other = run_in_chunks(rig, request, random, 20);

  BOOST_TEST(!same_bits({one.logits.back()}, {other.logits.back()}));
}

BOOST_AUTO_TEST_SUITE_END()
