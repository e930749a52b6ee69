// NCCL groups: all collectives in a group of one, what happens when peers don't come, and two ranks that share this GPU
// from two processes (NCCL takes them for two hosts and moves bytes through sockets), one of which is killed.
#include "runtime/exec/cuda/nccl_group.hpp"
#include "tests/gpu/device_buffer.hpp"

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <spawn.h>
#include <sys/wait.h>
#include <thread>

using namespace troupe;
using namespace troupe::exec;
using namespace std::chrono_literals;
using test::device_buffer;

namespace {

const char* peer_variable = "TROUPE_TEST_NCCL_ID"; // holds the id in hex, in the process that is rank 1

boost::test_tools::assertion_result has_nccl(boost::unit_test::test_unit_id) {
  const auto id = nccl_group::make_id();
  boost::test_tools::assertion_result yes(id.has_value());
  yes.message() << (id ? "" : id.error().message);
  return yes;
}

std::string to_hex(const nccl_id& id) {
  std::string text;
  for (const auto b : id) {
    text += "0123456789abcdef"[std::to_integer<int>(b) / 16];
    text += "0123456789abcdef"[std::to_integer<int>(b) % 16];
  }
  return text;
}
nccl_id from_hex(const std::string& text) {
  nccl_id id;
  for (std::size_t i = 0; i < id.size(); ++i)
    id[i] = static_cast<std::byte>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  return id;
}

std::unique_ptr<nccl_group> group_of_one() {
  return nccl_group::join(nccl_group::make_id().value(), 0, 1, open_cuda(0).value(), 30s).value();
}

/// What both ranks of a pair do; `rank` numbers make every value different.
void exchange(nccl_group& group, cudaStream_t stream) {
  const int rank = group.rank(), other = 1 - rank;
  const device_buffer<float> sum(std::vector<float>(1000, float(rank + 1)));
  const device_buffer<int> weights(rank == 0 ? std::vector<int>(5000, 42) : std::vector<int>(5000, 0));
  // Rank 0 keeps 16 bytes and sends 32; rank 1 sends 48 and keeps none.
  const std::vector<nccl_part> to =
      rank == 0 ? std::vector<nccl_part>{{0, 16}, {16, 32}} : std::vector<nccl_part>{{0, 48}, {0, 0}};
  const std::vector<nccl_part> from =
      rank == 0 ? std::vector<nccl_part>{{48, 16}, {0, 48}} : std::vector<nccl_part>{{0, 32}, {0, 0}};
  const device_buffer<std::uint8_t> sent(std::vector<std::uint8_t>(64, std::uint8_t(10 + rank))), got(64);

  group.all_reduce(sum.get(), 1000, nccl_type::f32, stream).value();
  group.broadcast(weights.get(), 5000 * sizeof(int), 0, stream).value();
  group.all_to_all(reinterpret_cast<std::byte*>(sent.get()), to, reinterpret_cast<std::byte*>(got.get()), from, stream)
      .value();
  group.wait(stream, 30s).value();

  BOOST_TEST(sum.host() == std::vector<float>(1000, 3.0f), boost::test_tools::per_element());
  BOOST_TEST(weights.host() == std::vector<int>(5000, 42), boost::test_tools::per_element());
  std::vector<std::uint8_t> want(64, 0xFF);
  std::fill_n(want.begin(), rank == 0 ? 48 : 32, std::uint8_t(10 + other));
  if (rank == 0) std::fill_n(want.begin() + 48, 16, std::uint8_t(10));
  BOOST_TEST(got.host() == want, boost::test_tools::per_element());
}

/// This binary again as rank 1, taken for a process of another host.
pid_t start_peer(const nccl_id& id) {
  const std::string variable = std::string(peer_variable) + "=" + to_hex(id);
  std::vector<std::string> texts{variable, "NCCL_HOSTID=another"};
  for (char** v = environ; *v; ++v)
    if (!std::string_view(*v).starts_with("NCCL_HOSTID=")) texts.emplace_back(*v);
  std::vector<char*> environment;
  for (auto& t : texts) environment.push_back(t.data());
  environment.push_back(nullptr);
  std::string test = "--run_test=engine_nccl/rank_1_of_a_pair", path = "/proc/self/exe";
  char* arguments[] = {path.data(), test.data(), nullptr};
  pid_t pid = 0;
  BOOST_REQUIRE_EQUAL(posix_spawn(&pid, path.c_str(), nullptr, nullptr, arguments, environment.data()), 0);
  return pid;
}

} // namespace

BOOST_AUTO_TEST_SUITE(engine_nccl,
                      *boost::unit_test::precondition(test::needs_gpu) * boost::unit_test::precondition(has_nccl))

BOOST_AUTO_TEST_CASE(a_group_of_one_keeps_what_it_has) {
  const auto group = group_of_one();
  const cuda_stream stream;
  const std::vector<float> values{1, 2, 3};
  const device_buffer<float> sum(values);
  const device_buffer<std::uint16_t> halves(std::vector<std::uint16_t>(7, 0x3F80));
  const device_buffer<std::uint8_t> sent(std::vector<std::uint8_t>{1, 2, 3, 4}), got(4);
  const std::vector<nccl_part> to{{1, 2}}, from{{2, 2}};

  group->all_reduce(sum.get(), 3, nccl_type::f32, stream).value();
  group->all_reduce(halves.get(), 7, nccl_type::bf16, stream).value();
  group->broadcast(sum.get(), 12, 0, stream).value();
  group->all_to_all(reinterpret_cast<std::byte*>(sent.get()), to, reinterpret_cast<std::byte*>(got.get()), from, stream)
      .value();
  group->wait(stream, 10s).value();

  BOOST_TEST(sum.host() == values, boost::test_tools::per_element());
  BOOST_TEST(halves.host() == std::vector<std::uint16_t>(7, 0x3F80), boost::test_tools::per_element());
  BOOST_TEST(got.host() == (std::vector<std::uint8_t>{0xFF, 0xFF, 2, 3}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_peer_that_never_comes_costs_the_timeout) {
  const auto begin = std::chrono::steady_clock::now();

  const auto group = nccl_group::join(nccl_group::make_id().value(), 0, 2, open_cuda(0).value(), 500ms);

  BOOST_TEST((group.error().code == errc::disconnected));
  BOOST_TEST((std::chrono::steady_clock::now() - begin < 10s));
}

BOOST_AUTO_TEST_CASE(an_aborted_group_says_so) {
  const auto group = group_of_one();
  const cuda_stream stream;
  const device_buffer<float> data(std::vector<float>{1});

  group->abort();

  BOOST_TEST((group->all_reduce(data.get(), 1, nccl_type::f32, stream).error().code == errc::disconnected));
  BOOST_TEST((group->wait(stream, 1s).error().code == errc::disconnected));
}

BOOST_AUTO_TEST_CASE(a_stream_that_is_stuck_is_left_at_the_deadline) {
  const auto group = group_of_one();
  const cuda_stream stream;
  must(cudaLaunchHostFunc(
      stream, [](void*) { std::this_thread::sleep_for(1s); }, nullptr));

  BOOST_TEST((group->wait(stream, 50ms).error().code == errc::disconnected));
}

BOOST_AUTO_TEST_CASE(survives_the_death_of_its_peer) {
  setenv("NCCL_HOSTID", "here", 1); // read by NCCL for each new group
  const auto id = nccl_group::make_id().value();
  const auto peer = start_peer(id);
  const auto group = nccl_group::join(id, 0, 2, open_cuda(0).value(), 60s).value();
  const cuda_stream stream;
  exchange(*group, stream);

  kill(peer, SIGKILL);
  waitpid(peer, nullptr, 0);
  const device_buffer<float> data(std::vector<float>(1000, 1.0f));
  const auto begin = std::chrono::steady_clock::now();
  const auto asked = group->all_reduce(data.get(), 1000, nccl_type::f32, stream);
  const auto outcome = asked ? group->wait(stream, 5s) : asked;
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;

  BOOST_TEST((outcome.error().code == errc::disconnected));
  BOOST_TEST(took.count() < 20);
  stream.wait(); // the kernel has ended
  std::cout << "a peer's death: " << outcome.error().message << " after " << took.count() << " s" << std::endl;
  const auto again = group_of_one();
  again->all_reduce(data.get(), 1000, nccl_type::f32, stream).value();
  again->wait(stream, 10s).value();
}

BOOST_AUTO_TEST_CASE(rank_1_of_a_pair) {
  const char* id = std::getenv(peer_variable);
  if (!id) return; // survives_the_death_of_its_peer starts it
  const auto group = nccl_group::join(from_hex(id), 1, 2, open_cuda(0).value(), 60s).value();
  const cuda_stream stream;
  exchange(*group, stream);
  std::this_thread::sleep_for(60s); // until it is killed
}

BOOST_AUTO_TEST_SUITE_END()
