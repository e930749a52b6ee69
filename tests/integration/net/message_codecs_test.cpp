// Messages of the cluster on their way between processes as Cap'n Proto, with the handles inside them.
#include "actors/codec/message_codecs.hpp"

#include "actors/interfaces.hpp"
#include "tests/support/bridge_rig.hpp"

#include <boost/test/data/test_case.hpp>

#include <atomic>
#include <memory>

using namespace troupe;
using troupe::test::bridge_setup;
using troupe::test::comes_true;
using troupe::test::wire;

namespace {

/// Three processes: a supervisor's, an expert_shard's, and the one of a role that watches the cluster.
struct three_processes : troupe::test::bridge_world {
  explicit three_processes(bridge_setup setup) : bridge_world(setup) {}

  /// All codecs, each of which counts what it writes.
  std::vector<net::message_codec> counted() {
    auto codecs = message_codecs();
    for (auto& codec : codecs)
      codec.encode = [inner = codec.encode, count = written](const caf::type_erased_tuple& content,
                                                             net::frame_parts to) {
        ++*count;
        inner(content, to);
      };
    return codecs;
  }
  std::unique_ptr<troupe::test::bridge_node> process() {
    return make_node([this](caf::actor_system_config& config) {
      config.add_message_types<caf::id_block::troupe>();
      return counted();
    });
  }

  std::shared_ptr<std::atomic<int>> written = std::make_shared<std::atomic<int>>(0);
  std::unique_ptr<troupe::test::bridge_node> supervisor = process();
  std::unique_ptr<troupe::test::bridge_node> shard = process();
  std::unique_ptr<troupe::test::bridge_node> watcher = process();
};

caf::behavior joining(caf::event_based_actor*) {
  return {[](const join_cluster& x) -> caf::result<role_assignment> {
    role_assignment out;
    out.process = process_id(static_cast<std::uint32_t>(x.pid));
    out.options.model_dir = x.name;
    return out;
  }};
}

const std::vector<bridge_setup> setups = {{wire::sim, false}, {wire::ucx_tcp, false}, {wire::ucx_shm, true}};

} // namespace

BOOST_AUTO_TEST_SUITE(message_codecs)

BOOST_DATA_TEST_CASE(a_request_and_its_answer_are_written_by_their_schemas, boost::unit_test::data::make(setups),
                     setup) {
  three_processes c(setup);
  c.supervisor->bridge().publish(c.supervisor->spawn(joining), "supervisor");
  const auto handle = c.watcher->reach(*c.supervisor, "supervisor");

  const auto got = troupe::test::ask<role_assignment>(c.watcher->system(), handle, join_cluster{"kv_cache-0", 7});

  BOOST_TEST_REQUIRE(got.value.has_value());
  BOOST_TEST(got.value->process.value == 7u);
  BOOST_TEST(got.value->options.model_dir == "kv_cache-0");
  BOOST_TEST(*c.written == 2);
}

// The view that the supervisor sends names an actor of a third process; the watcher reaches it without being
// introduced.
BOOST_DATA_TEST_CASE(handles_in_a_message_reach_their_actor_in_a_third_process, boost::unit_test::data::make(setups),
                     setup) {
  std::atomic<int> drained = 0; // outlives the actors
  three_processes c(setup);
  const auto expert = c.shard->spawn([&drained]() -> caf::behavior { return {[&](drain_atom) { ++drained; }}; });
  c.shard->bridge().publish(expert, "shard");
  const auto remote_expert = c.supervisor->reach(*c.shard, "shard");
  c.supervisor->bridge().publish(c.supervisor->spawn([remote_expert](caf::event_based_actor* self) -> caf::behavior {
    return {[self, remote_expert](const watch_cluster& x) {
      const auto serving = caf::actor_cast<expert_shard_actor>(remote_expert);
      self->send(caf::actor_cast<caf::actor>(x.listener), cluster_view{3, {}, {{{}, {}, "", "", serving}}, {}});
    }};
  }),
                                 "supervisor");
  const auto listener = c.watcher->spawn([](caf::event_based_actor* self) -> caf::behavior {
    return {[self](const cluster_view& view) {
      self->send(caf::actor_cast<caf::actor>(view.shards.at(0).handle), drain_atom_v);
    }};
  });

  caf::anon_send(c.watcher->reach(*c.supervisor, "supervisor"),
                 watch_cluster{caf::actor_cast<view_listener_actor>(listener)});

  BOOST_TEST(comes_true([&] { return drained == 1; }));
  BOOST_TEST(*c.written == 2);
}

BOOST_AUTO_TEST_SUITE_END()
