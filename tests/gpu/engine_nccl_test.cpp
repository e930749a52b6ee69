// NCCL groups: all collectives in a group of one, what happens when peers don't come, and a pair of processes, one of
// which is killed.
#include "tests/gpu/device_buffer.hpp"
#include "tests/gpu/nccl_pair.hpp"

#include <csignal>
#include <iostream>
#include <sys/wait.h>
#include <thread>

using namespace troupe;
using namespace troupe::exec;
using namespace std::chrono_literals;
using test::device_buffer;

namespace {

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

} // namespace

BOOST_AUTO_TEST_SUITE(engine_nccl, *boost::unit_test::precondition(test::needs_gpu) *
                                       boost::unit_test::precondition(gpu_test::has_nccl))

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
  const auto id = nccl_group::make_id().value();
  const auto peer = gpu_test::start_peer(id, "engine_nccl/rank_1_of_a_pair");
  const auto group = gpu_test::group_with_peer(id);
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
  const auto group = gpu_test::peer_group();
  if (!group) return; // survives_the_death_of_its_peer starts it
  const cuda_stream stream;
  exchange(*group, stream);
  std::this_thread::sleep_for(60s); // until it is killed
}

BOOST_AUTO_TEST_SUITE_END()
