// Rows to expert_shard actors of this process and back, under a supervisor that shows whatever view a test wants.
#include "actors/actor_expert_client.hpp"
#include "actors/expert_shard.hpp"
#include "actors/system_config.hpp"
#include "runtime/exec/local_expert_client.hpp"
#include "runtime/exec/sim_engine.hpp"

#include <boost/test/unit_test.hpp>
#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <future>

using namespace troupe;

namespace {

constexpr int shard_count = 2;

/// Random rows of bytes (as the sim engine has them) and experts for them.
struct step_rows {
  moe::routing choice;
  std::vector<float> inputs;

  step_rows(const exec::sim_model& model, int rows, int seed) {
    choice = {.row_count = rows, .experts_per_row = 2, .experts = {}, .weights = {}};
    for (int row = 0; row < rows; ++row) {
      const auto first = (seed + row) % (model.expert_count - 1);
      choice.experts.insert(choice.experts.end(), {first, first + 1});
      choice.weights.insert(choice.weights.end(), {1.0f, 2.0f});
      for (int i = 0; i < model.hidden_size; ++i) inputs.push_back(static_cast<float>((seed + row * 7 + i) % 256));
    }
  }
};

/// A GPU without one: "device memory" is this process's, and a handle is an address.
class fake_gpu final : public exec::expert_engine {
 public:
  fake_gpu(std::unique_ptr<exec::expert_engine> plain, bool maps) : plain_(std::move(plain)), maps_(maps) {}

  result<moe::shard_output> run(const moe::shard_batch& batch) override { return plain_->run(batch); }
  result<device_segment> run_mapped(const exec::mapped_batch& batch, std::uint64_t ticket) override {
    if (!maps_) return error{errc::unsupported, "its GPU does not reach the other"};
    return device_segment{.owner = ticket, .place = batch.rows.place, .size = 1};
  }

 private:
  std::unique_ptr<exec::expert_engine> plain_;
  bool maps_;
};

struct company {
  exec::sim_model model;
  system_config config{reach::this_process, 2};
  caf::actor_system system{config};
  std::promise<view_listener_actor> listener;
  supervisor_actor boss = system.spawn([this](supervisor_actor::pointer) -> supervisor_actor::behavior_type {
    return {[](const join_cluster&) { return role_assignment{}; },
            [](const role_ready&) {},
            [](const kv_cache_ready&) {},
            [](const expert_shard_ready&) {},
            [](const role_progress&) {},
            [](const role_draining&) { return drained_atom_v; },
            [](const process_exited&) {},
            [this](const watch_cluster& wish) { listener.set_value(wish.listener); },
            [](retry_atom) {},
            [](report_atom) {},
            [](get_status_atom) { return cluster_status{}; },
            [](drain_atom) { return drained_atom_v; }};
  });
  explicit company(actor_expert_client::device mine = {"cuda/sm_90a NVIDIA H200 #0"})
      : client(system, boss, moe::element::f32, std::move(mine)) {}

  actor_expert_client client;
  view_listener_actor watcher = listener.get_future().get();
  std::vector<caf::actor> spawned;
  std::string device_of_shards = "cuda/sm_90a NVIDIA H200 #0";
  const moe::placement where = moe::place_evenly(model.expert_count, shard_count, 1);

  bool shards_map = true;

  std::unique_ptr<exec::expert_engine> engine_of(std::uint32_t shard) const {
    return std::make_unique<fake_gpu>(
        std::make_unique<exec::sim_expert_engine>(model, where.experts_of(shard_id{shard})), shards_map);
  }

  /// Through the host, which also lets the client look at the view.
  void send_rows(int seed) {
    const step_rows rows(model, 3, seed);
    std::vector<float> out(rows.inputs.size());
    client.start(0, rows.choice, rows.inputs).value();
    client.finish(out).value();
    BOOST_TEST(out == computed_here(rows), boost::test_tools::per_element());
  }

  static exec::mapped_batch rows_at(std::uint32_t place) {
    return {.row_count = 3, .experts_per_row = 2, .rows = {.place = place}};
  }

  /// Shard s gets the experts of shard `owner_of[s]`.
  void show(std::uint64_t epoch, std::vector<std::uint32_t> owner_of) {
    cluster_view view{epoch, where, {}, {}};
    view.placement.epoch = epoch;
    for (std::uint32_t s = 0; s < shard_count; ++s) {
      const process_id process{static_cast<std::uint32_t>(10 * epoch + s)};
      auto parts = std::make_shared<expert_shard_parts>();
      parts->process = process;
      parts->supervisor = boss;
      parts->engine = engine_of(owner_of[s]);
      const auto shard = system.spawn(expert_shard, parts);
      view.shards.push_back({shard_id{s}, process, "", device_of_shards, shard});
      spawned.push_back(caf::actor_cast<caf::actor>(shard));
    }
    caf::anon_send(watcher, view);
  }

  std::vector<float> computed_here(const step_rows& rows) const {
    std::vector<std::unique_ptr<exec::expert_engine>> engines;
    for (std::uint32_t s = 0; s < shard_count; ++s) engines.push_back(engine_of(s));
    exec::local_expert_client local(std::move(engines), where, model.hidden_size, moe::element::f32);
    std::vector<float> out(rows.inputs.size());
    local.start(0, rows.choice, rows.inputs).value();
    local.finish(out).value();
    return out;
  }

  ~company() {
    for (const auto& actor : spawned) caf::anon_send_exit(actor, caf::exit_reason::kill);
    caf::anon_send_exit(boss, caf::exit_reason::kill);
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(actor_expert_client, company)

BOOST_AUTO_TEST_CASE(two_batches_are_under_way_and_finish_in_the_order_they_started) {
  show(1, {0, 1});
  for (int round = 0; round < 20; ++round) {
    const step_rows one(model, 5, round), two(model, 9, 100 + round);
    std::vector<float> out_one(one.inputs.size()), out_two(two.inputs.size());

    client.start(0, one.choice, one.inputs).value();
    client.start(0, two.choice, two.inputs).value();
    client.finish(out_one).value();
    client.finish(out_two).value();

    BOOST_TEST(out_one == computed_here(one), boost::test_tools::per_element());
    BOOST_TEST(out_two == computed_here(two), boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(a_refusal_drops_everything_that_was_started) {
  show(1, {1, 0});
  const step_rows one(model, 5, 1), two(model, 9, 2);
  std::vector<float> out(one.inputs.size());
  client.start(0, one.choice, one.inputs).value();
  client.start(0, two.choice, two.inputs).value();
  const auto refused = client.finish(out);
  BOOST_REQUIRE(!refused);
  BOOST_TEST((refused.error().code == errc::bug));

  show(2, {0, 1});
  result<void> done = error{errc::bug, "not tried yet"};
  for (int tries = 0; !done && tries < 1000; ++tries) { // until the new view is there
    std::fill(out.begin(), out.end(), 0.0f);
    done = client.start(0, one.choice, one.inputs);
    if (done) done = client.finish(out);
  }

  BOOST_TEST(done.has_value());
  BOOST_TEST(out == computed_here(one), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(shards_of_this_host_are_no_reason_to_halve_a_step) {
  show(1, {0, 1});
  const step_rows rows(model, 3, 1);
  std::vector<float> out(rows.inputs.size());
  client.start(0, rows.choice, rows.inputs).value();
  client.finish(out).value();

  BOOST_TEST(!client.overlap_rows_min().has_value());
}

BOOST_AUTO_TEST_CASE(shards_with_a_gpu_or_cores_of_their_own_are) {
  const auto overlaps_from = [](company& c) {
    c.show(1, {0, 1});
    const step_rows rows(c.model, 3, 1);
    std::vector<float> out(rows.inputs.size());
    c.client.start(0, rows.choice, rows.inputs).value();
    c.client.finish(out).value();
    return c.client.overlap_rows_min();
  };
  company spare({"cpu/avx2 x4", true});
  company shared({"cpu/avx2 x4", false});
  shared.device_of_shards = "cpu/avx2 x2";
  device_of_shards = "cuda/sm_90a NVIDIA H200 #1";

  BOOST_TEST(overlaps_from(*this).value_or(0) == limits::mapped_overlap_rows_min);
  client.start_mapped(rows_at(1)).value();
  BOOST_TEST(client.finish_mapped().has_value());
  for (const std::size_t segment : {0, 1}) client.stop_mapping(segment, "out of reach");
  BOOST_TEST(overlaps_from(*this).value_or(0) == limits::overlap_rows_min);
  BOOST_TEST(overlaps_from(spare).value_or(0) == limits::overlap_rows_min);
  BOOST_TEST(!overlaps_from(shared).has_value());
}

BOOST_AUTO_TEST_CASE(rows_that_are_mapped_stay_where_they_are) {
  show(1, {0, 1});
  BOOST_TEST(!client.can_map()); // nothing is known yet
  send_rows(1);
  BOOST_REQUIRE(client.can_map());

  client.start_mapped(rows_at(1)).value();
  client.start_mapped(rows_at(2)).value();
  const auto one = client.finish_mapped().value(), two = client.finish_mapped().value();

  BOOST_REQUIRE_EQUAL(one.segments.size(), 2u);
  BOOST_REQUIRE_EQUAL(two.segments.size(), 2u);
  BOOST_TEST(one.segments[0].place == 1u);
  BOOST_TEST(two.segments[1].place == 2u);
  BOOST_TEST(one.segments[0].owner < one.segments[1].owner); // tickets grow
  BOOST_TEST(one.segments[1].owner < two.segments[0].owner);
  BOOST_REQUIRE_EQUAL(one.segment_of.size(), where.owner.size());
  for (std::size_t e = 0; e < where.owner.size(); ++e) BOOST_TEST(one.segment_of[e] == where.owner[e].value);
  send_rows(2);
}

BOOST_AUTO_TEST_CASE(a_shard_that_does_not_map_is_sent_rows_until_it_is_replaced) {
  shards_map = false;
  show(1, {0, 1});
  send_rows(1);
  BOOST_REQUIRE(client.can_map());
  client.start_mapped(rows_at(1)).value();
  const auto refused = client.finish_mapped();
  BOOST_REQUIRE(!refused);
  BOOST_TEST((refused.error().code == errc::disconnected)); // the step is done again
  BOOST_TEST(!client.can_map());
  send_rows(2);
  BOOST_TEST(!client.can_map());

  shards_map = true;
  show(2, {0, 1});
  for (int tries = 0; !client.can_map() && tries < 1000; ++tries) send_rows(3);
  BOOST_REQUIRE(client.can_map());
  client.start_mapped(rows_at(1)).value();
  BOOST_TEST(client.finish_mapped().has_value());

  client.stop_mapping(1, "outputs are out of reach");
  BOOST_TEST(!client.can_map());
  send_rows(4);
}

BOOST_AUTO_TEST_CASE(a_replacement_is_asked_for_rows_that_are_mapped) {
  show(1, {0, 1});
  send_rows(1);
  for (const auto& actor : spawned) caf::anon_send_exit(actor, caf::exit_reason::kill);
  client.start_mapped(rows_at(1)).value();
  auto view = cluster_view{1, where, {}, {}}; // the placement stays
  for (std::uint32_t s = 0; s < shard_count; ++s) {
    auto parts = std::make_shared<expert_shard_parts>();
    parts->process = process_id{90 + s}, parts->supervisor = boss, parts->engine = engine_of(s);
    const auto shard = system.spawn(expert_shard, parts);
    view.shards.push_back({shard_id{s}, parts->process, "", device_of_shards, shard});
    spawned.push_back(caf::actor_cast<caf::actor>(shard));
  }
  caf::anon_send(watcher, view);
  BOOST_TEST(client.finish_mapped().has_value());
}

BOOST_AUTO_TEST_CASE(a_cpu_on_either_side_is_sent_rows) {
  company cpu({"cpu/avx2 x4", false});
  for (company* c : {static_cast<company*>(this), &cpu}) {
    c->device_of_shards = "cpu/avx2 x2";
    c->show(1, {0, 1});
    c->send_rows(1);
    BOOST_TEST(!c->client.can_map());
  }
  cpu.device_of_shards = "cuda/sm_90a NVIDIA H200 #0";
  cpu.show(2, {0, 1});
  for (int i = 0; i < 20; ++i) cpu.send_rows(2);
  BOOST_TEST(!cpu.client.can_map());
}

BOOST_AUTO_TEST_SUITE_END()
