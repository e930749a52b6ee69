// Messages as Cap'n Proto: what is written is read back, whoever wrote it; anything else is an error of one line.
#include "actors/codec/codec.hpp"

#include "schemas/client.capnp.h"
#include "schemas/cluster.capnp.h"
#include "tests/support/seed.hpp"
#include "tests/unit/codec/newer.capnp.h"

#include <boost/test/unit_test.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/deep_to_string.hpp>
#include <caf/event_based_actor.hpp>
#include <caf/scoped_execution_unit.hpp>
#include <caf/send.hpp>
#include <capnp/message.h>
#include <capnp/serialize.h>

#include <algorithm>
#include <cstring>

using namespace troupe;

namespace {

struct codec_rig {
  caf::actor_system_config config;
  caf::actor_system system{config};
  caf::scoped_execution_unit context{&system};

  template <class T>
  T there_and_back(const T& sent) {
    auto got = troupe::codec::decode<T>(troupe::codec::encode(sent), &context);
    BOOST_TEST_REQUIRE(got.has_value(), (got ? "" : got.error().message));
    return *std::move(got);
  }
};

template <class T>
void check_refused(const result<T>& got, std::string_view why) {
  BOOST_TEST_REQUIRE(!got.has_value());
  BOOST_TEST(got.error().message.find(why) != std::string::npos, got.error().message);
  BOOST_TEST(got.error().message.find('\n') == std::string::npos);
  BOOST_TEST((got.error().code == errc::bad_input));
}

template <class T>
result<T> decode(std::span<const std::byte> bytes) {
  return troupe::codec::decode<T>(bytes, nullptr);
}

std::vector<std::byte> bytes_of(capnp::MessageBuilder& message) {
  const auto words = capnp::messageToFlatArray(message);
  const auto bytes = std::as_bytes(std::span(words.begin(), words.size()));
  return {bytes.begin(), bytes.end()};
}

std::vector<std::byte> newer_join() {
  capnp::MallocMessageBuilder message;
  auto join = message.initRoot<schema::newer::JoinCluster>();
  join.setName("expert_shard-1");
  join.setPid(42);
  join.setRack("r7");
  join.initGpus(3).set(2, 9);
  join.setWeightsReady(false);
  return bytes_of(message);
}

generation_request a_request() {
  generation_request out;
  out.id = request_id{0x1234567890abcdef};
  out.prompt = {1, -1, 129'279};
  out.output = {7};
  out.priority = -3;
  out.sampling = {.temperature = 0.6f,
                  .top_k = 20,
                  .top_p = 0.95f,
                  .min_p = 0.01f,
                  .repetition_penalty = 1.1f,
                  .presence_penalty = 0.5f,
                  .frequency_penalty = -0.5f,
                  .seed = ~std::uint64_t{0},
                  .max_tokens = 100,
                  .min_tokens = 2,
                  .ignore_eos = true,
                  .stop_token_ids = {5, 6},
                  .logprobs = 3,
                  .prompt_logprobs = true};
  return out;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(codec, codec_rig)

// deep_to_string names every field of a message, as actors/inspect.hpp lists them.
BOOST_AUTO_TEST_CASE(every_field_arrives) {
  const auto same = [this](const auto& sent) {
    BOOST_TEST(caf::deep_to_string(there_and_back(sent)) == caf::deep_to_string(sent));
  };
  same(cancel_request{request_id{77}});
  same(admission{false, errc::overloaded, "full", 5});
  same(join_cluster{"expert_shard-1", 4711});
  step_histogram step_rows;
  step_rows.add(3);
  step_rows.add(100'000);
  same(role_progress{process_id{3},
                     {.steps = 9,
                      .running = 2,
                      .waiting = 1,
                      .kv_usage = 0.5,
                      .drafts_proposed = 8,
                      .drafts_accepted = 7,
                      .preemptions = 6,
                      .pages = 5,
                      .step_rows = step_rows}});
  same(role_ready{process_id{3}, "cpu/amx_bf16 x2"});
  same(role_draining{process_id{~0u}});
  same(get_job{1});
  same(cancel_job{2});
  same(job_progress{1, 100, 50, 2, true, 1234});
  same(fetch_results{1, 50});
  same(job_results{{1, 2, 2, 0, false, 10}, {"{\"a\":1}", "", std::string(10'000, 'x')}});
  same(submit_job{{"one", "two", std::string("with\0zero", 9)}});
  same(cluster_status{true,
                      {{.role = "kv_cache",
                        .name = "kv_cache-0",
                        .device = "cpu",
                        .state = "ready",
                        .pid = 5,
                        .steps = 6,
                        .step_age_ms = 7,
                        .running = 8,
                        .waiting = 9,
                        .kv_usage = 0.25,
                        .drafts_proposed = 11,
                        .drafts_accepted = 12,
                        .restarts = 10,
                        .preemptions = 13,
                        .pages = 14,
                        .step_rows = step_rows}}});
}

BOOST_AUTO_TEST_CASE(a_request_arrives_as_it_was_sent) {
  const auto sent = a_request();
  const auto got = there_and_back(admit_request{sent, {}}).request;
  BOOST_TEST(got.id.value == sent.id.value);
  BOOST_TEST(got.prompt == sent.prompt, boost::test_tools::per_element());
  BOOST_TEST(got.output == sent.output, boost::test_tools::per_element());
  BOOST_TEST(got.priority == sent.priority);
  BOOST_TEST(caf::deep_to_string(got.sampling) == caf::deep_to_string(sent.sampling));
}

BOOST_AUTO_TEST_CASE(an_assignment_arrives_as_it_was_sent) {
  role_assignment sent{process_id{2}, shard_id{1}, moe::placement{5, {shard_id{0}, shard_id{1}}}, 129'280, {}};
  sent.options = {.model_dir = "/m",
                  .load_format = "dummy",
                  .device = "cuda:1",
                  .dtype = "bfloat16",
                  .threads = 4,
                  .max_num_seqs = 5,
                  .max_num_batched_tokens = 6,
                  .max_model_len = 7,
                  .kv_cache_dtype = "fp8_ds_mla",
                  .kv_cache_ratio = 0.5,
                  .seed = 8,
                  .speculative = false,
                  .deterministic = false,
                  .isa = "avx2"};
  const auto got = there_and_back(sent);
  BOOST_TEST(got.process.value == 2u);
  BOOST_TEST(got.shard.value == 1u);
  BOOST_TEST(got.placement.epoch == 5u);
  BOOST_TEST((got.placement.owner == sent.placement.owner));
  BOOST_TEST(got.vocab_size == 129'280);
  BOOST_TEST(caf::deep_to_string(got.options) == caf::deep_to_string(sent.options));
}

BOOST_AUTO_TEST_CASE(handles_keep_their_actor_and_null_stays_null) {
  const auto actor = system.spawn([]() -> caf::behavior { return {[](const cluster_view&) {}}; });
  const auto listener = caf::actor_cast<view_listener_actor>(actor);
  const auto shard = caf::actor_cast<expert_shard_actor>(actor);
  const cluster_view sent{7,
                          moe::placement{7, {shard_id{1}}},
                          {{shard_id{0}, process_id{1}, "ucx://h:1/u", "cuda/sm_90a #1", shard}, {}},
                          {{process_id{2}, {}}}};
  const auto got = there_and_back(sent);
  BOOST_TEST((there_and_back(watch_cluster{listener}).listener == listener));
  BOOST_TEST((there_and_back(watch_cluster{}).listener == view_listener_actor{}));
  BOOST_TEST(got.epoch == 7u);
  BOOST_TEST_REQUIRE(got.shards.size() == 2u);
  BOOST_TEST((got.shards[0].handle == shard));
  BOOST_TEST(got.shards[0].address == "ucx://h:1/u");
  BOOST_TEST(got.shards[0].device == "cuda/sm_90a #1");
  BOOST_TEST((got.shards[1].handle == expert_shard_actor{}));
  BOOST_TEST(got.kv_caches.at(0).process.value == 2u);
  caf::anon_send_exit(actor, caf::exit_reason::user_shutdown);
}

BOOST_AUTO_TEST_CASE(a_handle_without_a_way_to_it_is_refused) {
  capnp::MallocMessageBuilder message;
  auto ref = message.initRoot<schema::WatchCluster>().initListener();
  ref.setId(5);
  ref.setNode("ucx://127.0.0.1:1/elsewhere");
  check_refused(troupe::codec::decode<watch_cluster>(bytes_of(message), &context), "WatchCluster: a handle has no way");
  check_refused(decode<watch_cluster>(bytes_of(message)), "WatchCluster: a handle has no way");
  ref.setNode("not a uri");
  check_refused(troupe::codec::decode<watch_cluster>(bytes_of(message), &context), "no uri");
}

BOOST_AUTO_TEST_CASE(a_newer_senders_message_is_understood) {
  const auto got = decode<join_cluster>(newer_join());
  BOOST_TEST(got->name == "expert_shard-1");
  BOOST_TEST(got->pid == 42);
}

BOOST_AUTO_TEST_CASE(an_older_senders_message_has_the_defaults_of_what_it_does_not_know) {
  const auto bytes = troupe::codec::encode(join_cluster{"a", 1});
  auto words = kj::heapArray<capnp::word>(bytes.size() / sizeof(capnp::word));
  std::memcpy(words.begin(), bytes.data(), bytes.size());
  capnp::FlatArrayMessageReader message(words);
  const auto read = message.getRoot<schema::newer::JoinCluster>();
  BOOST_TEST(read.getPid() == 1);
  BOOST_TEST(read.getRack().size() == 0u);
  BOOST_TEST(read.getWeightsReady());
}

// Whoever passes a message on without making a C++ struct of it loses nothing.
BOOST_AUTO_TEST_CASE(unknown_fields_survive_a_copy_by_an_older_build) {
  const auto bytes = newer_join();
  auto words = kj::heapArray<capnp::word>(bytes.size() / sizeof(capnp::word));
  std::memcpy(words.begin(), bytes.data(), bytes.size());
  capnp::FlatArrayMessageReader message(words);
  capnp::MallocMessageBuilder copy;
  copy.setRoot(message.getRoot<schema::JoinCluster>());
  const auto passed_on = copy.getRoot<schema::newer::JoinCluster>().asReader();
  BOOST_TEST(std::string(passed_on.getRack().cStr()) == "r7");
  BOOST_TEST(passed_on.getGpus()[2] == 9u);
  BOOST_TEST(!passed_on.getWeightsReady());
}

BOOST_AUTO_TEST_CASE(a_newer_peers_error_code_is_a_bug_of_somebody) {
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::newer::Admission>().setCode(schema::newer::ErrorCode::ON_FIRE);
  BOOST_TEST((decode<admission>(bytes_of(message))->code == errc::bug));
}

BOOST_AUTO_TEST_CASE(error_codes_have_the_same_numbers_in_the_schema) {
  for (int code = 1; code <= static_cast<int>(errc::bug); ++code)
    BOOST_TEST((there_and_back(admission{false, static_cast<errc>(code)}).code == static_cast<errc>(code)));
  BOOST_TEST(static_cast<int>(schema::ErrorCode::BUG) == static_cast<int>(errc::bug));
  BOOST_TEST(static_cast<int>(schema::ErrorCode::OVERLOADED) == static_cast<int>(errc::overloaded));
}

BOOST_AUTO_TEST_CASE(bytes_may_lie_at_any_address) {
  const auto bytes = troupe::codec::encode(join_cluster{"expert_shard-1", 42});
  for (std::size_t shift = 0; shift < 8; ++shift) {
    std::vector<std::byte> room(bytes.size() + shift);
    std::ranges::copy(bytes, room.begin() + static_cast<std::ptrdiff_t>(shift));
    BOOST_TEST(decode<join_cluster>(std::span(room).subspan(shift))->name == "expert_shard-1");
  }
}

BOOST_AUTO_TEST_CASE(truncated_and_longer_messages_are_refused) {
  auto bytes = troupe::codec::encode(admit_request{a_request(), {}});
  for (std::size_t size = 0; size < bytes.size(); ++size)
    BOOST_TEST(!decode<admit_request>(std::span(bytes).first(size)).has_value());
  bytes.resize(bytes.size() + 8);
  check_refused(decode<admit_request>(bytes), "AdmitRequest: bytes follow its end");
}

// A few words that claim to be half a billion lines: a list of nothing is as long as its writer likes.
BOOST_AUTO_TEST_CASE(a_list_bomb_is_refused_before_memory_is_taken_for_it) {
  capnp::MallocMessageBuilder message;
  message.initRoot<schema::SubmitJob>();
  auto pointers = message.getRoot<capnp::AnyStruct>().getPointerSection();
  pointers[0].initAs<capnp::List<capnp::Void>>((1u << 29) - 1);
  const auto bytes = bytes_of(message);
  BOOST_TEST(bytes.size() < 100u);
  BOOST_TEST(!decode<submit_job>(bytes).has_value());
  check_refused(decode<cluster_status>(bytes), "ClusterStatus: ");
}

BOOST_AUTO_TEST_CASE(any_bytes_give_a_message_or_an_error_of_one_line) {
  TROUPE_RANDOM(random);
  const auto good = troupe::codec::encode(admit_request{a_request(), {}});
  for (int round = 0; round < 20'000; ++round) {
    auto bytes = good;
    for (auto flips = 1 + random() % 8; flips-- > 0;) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    if (const auto got = decode<admit_request>(bytes); !got)
      BOOST_TEST_REQUIRE(got.error().message.find('\n') == std::string::npos);
    else
      BOOST_TEST_REQUIRE(got->request.prompt.size() <= bytes.size());
  }
}

BOOST_AUTO_TEST_SUITE_END()
