// Experts in another process that maps this one's rows, and whose outputs this one maps: the bits of experts here, also
// when a batch comes twice or too late, when memory moves, and when either side is killed while the other reads.
#include "runtime/exec/device/mapped_layout.hpp"
#include "tests/gpu/segment_peer.hpp"
#include "tests/support/test_seed.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>

#include <memory>

using namespace troupe;
using namespace troupe::exec;
using namespace troupe::testing;
using gpu_test::peer_answer, gpu_test::peer_model, gpu_test::peer_request, gpu_test::segment_peer;

namespace {

/// Reaches the experts of some peers as actor_expert_client does those of its shards.
class mapping_client final : public expert_client {
 public:
  mapping_client(std::uint64_t seed, bool fp8, int shards, std::int32_t expert_count) : seed_(seed), fp8_(fp8) {
    for (int s = 0; s < shards; ++s) peers_.push_back(std::make_unique<segment_peer>(seed, fp8, s, shards));
    for (const auto shard : moe::place_evenly(expert_count, shards, 1).owner) owner_.push_back(shard.value);
  }

  std::function<void()> before_outputs_are_read = [] {};
  std::optional<std::int32_t> overlap;

  result<void> start(layer_index, const moe::routing&, std::span<const float>) override {
    return error{errc::bug, "rows were sent"};
  }
  result<void> finish(std::span<float>) override { return error{errc::bug, "rows were sent"}; }
  std::optional<std::int32_t> overlap_rows_min() const override { return overlap; }
  bool can_map() const override { return true; }
  result<void> start_mapped(const mapped_batch& rows) override {
    most_open = std::max(most_open, ++open_);
    for (auto& peer : peers_) peer->ask({peer_request::kind::run, ++ticket_, rows});
    return {};
  }
  result<mapped_outputs> finish_mapped() override {
    --open_;
    mapped_outputs out{{}, owner_};
    for (auto& peer : peers_) {
      const auto got = peer->answer();
      if (!got.done) return error{got.code, "refused"};
      out.segments.push_back(got.segment);
    }
    before_outputs_are_read();
    return out;
  }
  void stop_mapping(std::size_t segment, const std::string&) override { stopped.push_back(segment); }

  void kill_all() {
    for (auto& peer : peers_) peer->kill();
  }
  void replace_all() {
    const auto shards = static_cast<int>(peers_.size());
    for (int s = 0; s < shards; ++s)
      peers_[static_cast<std::size_t>(s)] = std::make_unique<segment_peer>(seed_, fp8_, s, shards);
  }

  int most_open = 0;
  std::vector<std::size_t> stopped;

 private:
  std::uint64_t seed_;
  bool fp8_;
  std::vector<std::unique_ptr<segment_peer>> peers_;
  std::vector<std::uint32_t> owner_;
  std::uint64_t ticket_ = 0;
  int open_ = 0;
};

/// Rows in memory that this process exports, and what experts here make of them.
struct exported_rows {
  peer_model& m;
  int rows;
  std::vector<std::uint16_t> values;
  std::vector<std::int32_t> chosen;
  exported_memory memory;
  mapped_layout layout;

  exported_rows(peer_model& of, int count, std::mt19937_64& random)
      : m(of), rows(count),
        layout(std::size_t(count), std::size_t(of.config.hidden_size), std::size_t(of.config.experts_per_token)) {
    std::normal_distribution<float> normal;
    for (int i = 0; i < rows * m.config.hidden_size; ++i) values.push_back(kernels::float_to_bf16(normal(random)));
    std::vector<std::int32_t> experts(std::size_t(m.config.expert_count));
    std::iota(experts.begin(), experts.end(), 0);
    for (int row = 0; row < rows; ++row)
      std::sample(experts.begin(), experts.end(), std::back_inserter(chosen), m.config.experts_per_token, random);
    memory.reserve(layout.rows_bytes).value();
    fill(chosen);
  }

  void fill(const std::vector<std::int32_t>& choices) const {
    must(cudaMemcpy(memory.as<void>(), values.data(), layout.chosen_at, cudaMemcpyHostToDevice));
    must(cudaMemcpy(memory.as<std::byte>() + layout.chosen_at, choices.data(), choices.size() * 4,
                    cudaMemcpyHostToDevice));
    must(cudaDeviceSynchronize());
  }
  mapped_batch batch() const { return {1, m.config.hidden_size, rows, m.config.experts_per_token, memory.segment()}; }

  /// As they lie in the outputs; zeros where the choice is not owned.
  std::vector<std::uint16_t> computed_here(std::span<const expert_index> owned) {
    const auto engine = gpu_test::make_gpu_experts(m.weights, m.config, owned);
    moe::shard_batch sent{1, moe::element::bf16, m.config.hidden_size, {}, {}, {}};
    sent.inputs = segment::copy_of(std::as_bytes(std::span(values)));
    std::vector<std::size_t> place;
    for (const auto expert : owned)
      for (std::size_t i = 0; i < chosen.size(); ++i)
        if (chosen[i] == expert)
          sent.experts.push_back(expert), sent.rows.push_back(std::int32_t(i) / m.config.experts_per_token),
              place.push_back(i);
    const auto answer = engine->run(sent).value();
    const auto hidden = std::size_t(m.config.hidden_size);
    std::vector<std::uint16_t> out(chosen.size() * hidden);
    for (std::size_t i = 0; i < place.size(); ++i)
      std::memcpy(&out[place[i] * hidden], answer.outputs.bytes().data() + i * hidden * 2, hidden * 2);
    return out;
  }

  /// What lies in a peer's outputs, without what is not owned.
  std::vector<std::uint16_t> read(mapped_segment<cuda_ipc>& from, const device_segment& s,
                                  std::span<const expert_index> owned) const {
    std::vector<std::uint16_t> out(layout.output_bytes / 2);
    must(cudaMemcpy(out.data(), from.follow(s).value(), layout.output_bytes, cudaMemcpyDefault));
    const auto hidden = std::size_t(m.config.hidden_size);
    for (std::size_t i = 0; i < chosen.size(); ++i)
      if (std::ranges::find(owned, chosen[i]) == owned.end()) std::fill_n(out.begin() + i * hidden, hidden, 0);
    return out;
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(engine_segments, *boost::unit_test::precondition(troupe::test::needs_gpu))

BOOST_AUTO_TEST_CASE(the_peer_answers) { gpu_test::be_peer(); }

BOOST_DATA_TEST_CASE(mapped_experts_give_the_bits_of_experts_here, boost::unit_test::data::make({false, true}), fp8) {
  const auto seed = fresh_seed();
  std::mt19937_64 random(seed);
  peer_model m(seed, fp8);
  auto rig = gpu_test::make_gpu_rig(m.weights, m.config);
  const auto tokens = random_tokens(random, 700, m.config.vocab_size),
             few = random_tokens(random, 40, m.config.vocab_size);
  const auto pages = pages_from(0, 700), pages_few = pages_from(20, 40);
  const auto here = run_alone(rig, tokens, pages, std::vector{700}),
             here_few = run_alone(rig, few, pages_few, std::vector{40});
  for (const int shards : {1, 3}) {
    auto client = std::make_unique<mapping_client>(seed, fp8, shards, m.config.expert_count);
    auto& peers = *client;
    rig.experts = std::move(client);
    for (const int chunk : {40, 13, 1}) BOOST_TEST((run_alone(rig, few, pages_few, std::vector{chunk}) == here_few));
    BOOST_TEST((run_alone(rig, tokens, pages, std::vector{700}) == here)); // outputs move
    peers.overlap = 2;
    for (const int chunk : {40, 13, 1}) BOOST_TEST((run_alone(rig, few, pages_few, std::vector{chunk}) == here_few));
    BOOST_TEST(peers.most_open == 2);
    BOOST_TEST(peers.stopped.empty());
  }
}

/// Five sequences, one of them with a draft: six rows, padded to eight and replayed in pieces.
BOOST_DATA_TEST_CASE(decode_steps_in_pieces_have_the_same_bits, boost::unit_test::data::make({false, true}), fp8) {
  const auto seed = fresh_seed();
  std::mt19937_64 random(seed);
  peer_model m(seed, fp8);
  auto rig = gpu_test::make_gpu_rig(m.weights, m.config);
  auto& device = dynamic_cast<cuda_model&>(*rig.device);
  std::vector<std::vector<token_id>> tokens, next;
  std::vector<std::vector<page_id>> pages;
  std::vector<row_group> groups;
  std::vector<draft_group> drafts;
  for (std::uint32_t s = 0; s < 5; ++s) {
    tokens.push_back(random_tokens(random, 30 + 31 * static_cast<int>(s), m.config.vocab_size));
    next.push_back(random_tokens(random, 2, m.config.vocab_size)), pages.push_back(pages_from(s, 160, 5));
  }
  for (std::size_t s = 0, row = 0; s < 5; ++s) {
    const std::size_t rows = s == 2 ? 2 : 1, first = tokens[s].size() - rows;
    const auto all = std::span<const token_id>(tokens[s]);
    const row_group prompt{.tokens = all.first(first), .pages = pages[s], .logit_rows = 0};
    device.forward({&prompt, 1}, *rig.experts).value();
    groups.push_back({all.last(rows), static_cast<std::int32_t>(first), pages[s], static_cast<std::int32_t>(rows)});
    drafts.push_back({static_cast<std::int32_t>(row), static_cast<std::int32_t>(first),
                      std::span<const token_id>(next[s]).first(rows), pages[s]});
    row += rows;
  }
  const auto run = [&](expert_client& experts) {
    device.forward(groups, experts).value();
    auto logits = copy_logits(device, 0, 6);
    const auto drawn = device.draft(drafts, experts).value();
    for (std::int32_t i = 0; i < 5; ++i)
      logits.emplace_back(device.draft_logits(i).begin(), device.draft_logits(i).end());
    return std::pair(logits, drawn);
  };
  const auto here = run(*rig.experts);
  mapping_client peers(seed, fp8, 2, m.config.expert_count);
  for (const auto least : {std::optional<std::int32_t>{}, std::optional<std::int32_t>{2}}) {
    peers.overlap = least;
    for (int i = 0; i < 5; ++i) BOOST_TEST((run(peers) == here)); // launched, captured, replayed
    BOOST_TEST((run(*rig.experts) == here));
  }
  peers.kill_all(), peers.replace_all(); // other memory is mapped
  for (int i = 0; i < 4; ++i) BOOST_TEST((run(peers) == here));
}

BOOST_AUTO_TEST_CASE(a_batch_may_come_twice_and_not_too_late) {
  const auto seed = fresh_seed();
  std::mt19937_64 random(seed);
  peer_model m(seed, true);
  const auto owned = m.experts_of(1, 2);
  segment_peer peer(seed, true, 1, 2);
  must(cudaSetDevice(0));
  const auto ask = [&](const exported_rows& rows, std::uint64_t ticket) {
    peer.ask({peer_request::kind::run, ticket, rows.batch()});
    return peer.answer();
  };
  for (const int count : {1, 2, 7, 8, 9, 63, 64, 65, 600}) {
    exported_rows rows(m, count, random);
    const auto want = rows.computed_here(owned);
    mapped_segment<cuda_ipc> mapped;
    auto got = ask(rows, 10);
    BOOST_REQUIRE(got.done);
    BOOST_TEST((rows.read(mapped, got.segment, owned) == want));
    got = ask(rows, 10);
    BOOST_REQUIRE(got.done);
    BOOST_TEST((rows.read(mapped, got.segment, owned) == want));

    rows.fill(std::vector<std::int32_t>(rows.chosen.size(), -5)); // of a batch that was given up: anything
    BOOST_TEST(ask(rows, 11).done);
    rows.fill(std::vector<std::int32_t>(rows.chosen.size(), 1 << 30));
    BOOST_TEST(ask(rows, 12).done);
    rows.fill(rows.chosen);
    got = ask(rows, 13);
    BOOST_REQUIRE(got.done);
    const auto late = ask(rows, 12);
    BOOST_TEST((!late.done && late.code == errc::bad_input));
    BOOST_TEST((rows.read(mapped, got.segment, owned) == want));
  }
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_refused) {
  const auto seed = fresh_seed();
  std::mt19937_64 random(seed);
  peer_model m(seed, false);
  must(cudaSetDevice(0));
  exported_rows rows(m, 3, random);
  const auto engine = gpu_test::make_gpu_experts(m.weights, m.config, m.experts_of(0, 1));
  BOOST_TEST((engine->run_mapped(rows.batch(), 1).error().code == errc::unsupported)); // its own process's
  auto batch = rows.batch();
  batch.layer = 0; // dense
  BOOST_TEST((engine->run_mapped(batch, 2).error().code == errc::bad_input));
  batch = rows.batch(), batch.row_count = 1 << 20;
  BOOST_TEST((engine->run_mapped(batch, 3).error().code == errc::overloaded));
  batch = rows.batch(), batch.row_count = 4000;
  BOOST_TEST((engine->run_mapped(batch, 4).error().code == errc::bad_input)); // beyond its segment
  batch = rows.batch(), batch.rows.owner ^= 1, batch.rows.handle.fill(7);
  BOOST_TEST((engine->run_mapped(batch, 5).error().code == errc::unsupported)); // no such memory
  moe::shard_batch sent{1, moe::element::bf16, m.config.hidden_size, segment::allocate(1024), {3}, {0}};
  BOOST_TEST(engine->run(sent).has_value());
}

/// Shards are killed when they have answered. Outputs that are mapped are still read; others cost the step.
BOOST_AUTO_TEST_CASE(shards_are_killed_under_the_asker) {
  const auto seed = fresh_seed();
  std::mt19937_64 random(seed);
  peer_model m(seed, true);
  auto rig = gpu_test::make_gpu_rig(m.weights, m.config);
  const auto tokens = random_tokens(random, 40, m.config.vocab_size);
  const auto pages = pages_from(0, 40);
  const auto here = run_alone(rig, tokens, pages, std::vector{40});
  auto client = std::make_unique<mapping_client>(seed, true, 2, m.config.expert_count);
  auto& peers = *client;
  rig.experts = std::move(client);
  const auto kill_at = [&](int nth) {
    peers.before_outputs_are_read = [&peers, nth, layer = 0]() mutable {
      if (++layer == nth) peers.kill_all(), peers.replace_all();
    };
  };
  kill_at(2); // the second layer: outputs of the first have been read
  for (int round = 0; round < 2; ++round) {
    BOOST_TEST((run_alone(rig, tokens, pages, std::vector{40}) == here));
    kill_at(2);
  }
  BOOST_TEST(peers.stopped.empty());
  kill_at(1);
  const row_group group{.tokens = tokens, .pages = pages, .logit_rows = 40};
  BOOST_TEST((rig.device->forward({&group, 1}, *rig.experts).error().code == errc::disconnected));
  BOOST_TEST(peers.stopped == std::vector<std::size_t>{0}, boost::test_tools::per_element());
  BOOST_TEST((run_alone(rig, tokens, pages, std::vector{40}) == here));
}

/// An asker is killed when its rows are mapped: they are still read, and the next asker gets its outputs.
BOOST_AUTO_TEST_CASE(askers_are_killed_under_a_shard) {
  const auto seed = fresh_seed();
  peer_model m(seed, true);
  const auto engine = gpu_test::make_gpu_experts(m.weights, m.config, m.experts_of(0, 1));
  for (int round = 0; round < 3; ++round) {
    segment_peer asker(seed, true, 0, 1);
    asker.ask({peer_request::kind::export_bytes, 0, {}, 3 << 20});
    const auto got = asker.answer();
    const mapped_batch batch{1, m.config.hidden_size, 600, m.config.experts_per_token, got.segment};
    BOOST_TEST(engine->run_mapped(batch, 1).has_value());
    asker.kill();
    for (std::uint64_t ticket = 2; ticket < 50; ++ticket) BOOST_TEST(engine->run_mapped(batch, ticket).has_value());
  }
}

BOOST_AUTO_TEST_SUITE_END()
