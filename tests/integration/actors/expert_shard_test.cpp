// What an expert_shard tells about itself: a batch that hangs is work without progress, so the supervisor sees it.
#include "actors/expert_shard.hpp"
#include "actors/system_config.hpp"

#include <boost/test/unit_test.hpp>
#include <caf/actor_system.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>

#include <future>
#include <mutex>

using namespace troupe;

namespace {

/// Answers once the gate is open.
class gated_engine final : public exec::expert_engine {
 public:
  explicit gated_engine(std::shared_future<void> gate) : gate_(std::move(gate)) {}
  result<moe::shard_output> run(const moe::shard_batch&) override {
    gate_.wait();
    return moe::shard_output{};
  }

 private:
  std::shared_future<void> gate_;
};

struct lone_shard {
  system_config config{reach::this_process, 2};
  caf::actor_system system{config};
  std::promise<void> gate;
  std::mutex mutex;
  cluster::progress_report last;
  supervisor_actor boss = system.spawn([this](supervisor_actor::pointer) -> supervisor_actor::behavior_type {
    return {[](const join_cluster&) { return role_assignment{}; },
            [](const role_ready&) {},
            [](const kv_cache_ready&) {},
            [](const expert_shard_ready&) {},
            [this](const role_progress& m) {
              const std::lock_guard lock(mutex);
              last = m.report;
            },
            [](const role_draining&) { return drained_atom_v; },
            [](const process_exited&) {},
            [](const watch_cluster&) {},
            [](retry_atom) {},
            [](report_atom) {},
            [](get_status_atom) { return cluster_status{}; },
            [](drain_atom) { return drained_atom_v; }};
  });
  expert_shard_actor shard = system.spawn(expert_shard, make_parts());

  std::shared_ptr<expert_shard_parts> make_parts() {
    auto parts = std::make_shared<expert_shard_parts>();
    parts->supervisor = boss;
    parts->engine = std::make_unique<gated_engine>(gate.get_future().share());
    return parts;
  }

  /// The first report that is as wanted; the last one if none comes in time.
  template <class Wanted>
  cluster::progress_report report_until(Wanted wanted) {
    const auto deadline = clock::now() + std::chrono::seconds(20);
    for (;;) {
      {
        const std::lock_guard lock(mutex);
        if (wanted(last) || clock::now() > deadline) return last;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  ~lone_shard() {
    for (const auto& actor : {caf::actor_cast<caf::actor>(shard), caf::actor_cast<caf::actor>(boss)})
      caf::anon_send_exit(actor, caf::exit_reason::kill);
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(expert_shard, lone_shard)

BOOST_AUTO_TEST_CASE(a_batch_that_hangs_is_work_without_progress) {
  caf::scoped_actor client{system};
  client->send(shard, dispatch_rows{});

  const auto hanging = report_until([](const auto& report) { return report.running == 1; });
  gate.set_value();
  const auto done = report_until([](const auto& report) { return report.steps == 1 && report.running == 0; });

  BOOST_TEST(hanging.running == 1);
  BOOST_TEST(hanging.steps == 0u);
  BOOST_TEST(done.steps == 1u);
  BOOST_TEST(done.running == 0);
}

BOOST_AUTO_TEST_SUITE_END()
