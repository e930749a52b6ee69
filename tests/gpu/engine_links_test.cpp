// How fast a pair of GPUs moves bytes: collectives of nccl_group between two processes beside cudaMemcpyPeer of one.
// The ranks measure the same sizes in the same order; a rate is of the bytes that the busier direction carries.
#include "tests/gpu/device_buffer.hpp"
#include "tests/gpu/nccl_pair.hpp"

#include <cstdio>
#include <sys/wait.h>

using namespace troupe;
using namespace troupe::exec;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t sizes[] = {64 << 10, 1 << 20, 16 << 20, 256 << 20};
constexpr int warm = 3, passes = 20;

boost::test_tools::assertion_result needs_two_gpus(boost::unit_test::test_unit_id) {
  boost::test_tools::assertion_result yes(gpu_test::has_two_gpus());
  yes.message() << "there are no two GPUs";
  return yes;
}

/// GB/s of `bytes` moved by each enqueue().
template <class Enqueue, class Wait>
double rate(std::size_t bytes, cudaStream_t stream, Enqueue enqueue, Wait wait) {
  const cuda_event begin, end;
  for (int i = 0; i < warm; ++i) enqueue();
  must(cudaEventRecord(begin, stream));
  for (int i = 0; i < passes; ++i) enqueue();
  must(cudaEventRecord(end, stream));
  wait();
  float ms = 0;
  must(cudaEventElapsedTime(&ms, begin, end));
  return double(bytes) * passes / 1e6 / double(ms);
}

struct collectives {
  double all_reduce, broadcast, all_to_all;
};

/// Rank 0 keeps a quarter of `bytes` and sends the rest; rank 1 the other way round.
collectives measure(nccl_group& group, std::size_t bytes) {
  const cuda_stream stream;
  const device_memory send = device_memory::allocate(bytes).value(), receive = device_memory::allocate(bytes).value();
  must(cudaMemset(send.as<void>(), 0, bytes));
  const auto quarter = bytes / 4, rest = bytes - quarter;
  const auto kept = group.rank() == 0 ? quarter : rest, sent = bytes - kept;
  std::vector<nccl_part> to(2), from(2);
  const auto me = std::size_t(group.rank()), other = 1 - me;
  to[me] = {0, kept}, to[other] = {kept, sent};
  from[me] = {0, kept}, from[other] = {0, bytes - sent};
  const auto wait = [&] { group.wait(stream, 60s).value(); };
  collectives c;
  c.all_reduce = rate(
      bytes, stream, [&] { group.all_reduce(send.as<void>(), bytes / 4, nccl_type::f32, stream).value(); }, wait);
  c.broadcast = rate(
      bytes, stream, [&] { group.broadcast(send.as<void>(), bytes, 0, stream).value(); }, wait);
  c.all_to_all = rate(
      rest, stream, [&] { group.all_to_all(send.as<std::byte>(), to, receive.as<std::byte>(), from, stream).value(); },
      wait);
  return c;
}

/// From GPU 0 to GPU 1, whose memory this process maps.
double memcpy_peer(std::size_t bytes) {
  must(cudaSetDevice(1));
  const device_memory there = device_memory::allocate(bytes).value();
  must(cudaSetDevice(0));
  if (const auto status = cudaDeviceEnablePeerAccess(1, 0); status != cudaErrorPeerAccessAlreadyEnabled) must(status);
  cudaGetLastError();
  const device_memory here = device_memory::allocate(bytes).value();
  must(cudaMemset(here.as<void>(), 0, bytes));
  const cuda_stream stream;
  return rate(
      bytes, stream, [&] { must(cudaMemcpyPeerAsync(there.as<void>(), 1, here.as<void>(), 0, bytes, stream)); },
      [&] { stream.wait(); });
}

} // namespace

BOOST_AUTO_TEST_SUITE(engine_links, *boost::unit_test::precondition(needs_two_gpus) *
                                        boost::unit_test::precondition(gpu_test::has_nccl))

/// Prints rates beside a copy's, and asks for none: other suites may share the GPUs. engine_nccl looks at the bytes.
BOOST_AUTO_TEST_CASE(collectives_of_every_size_come_to_an_end) {
  const auto id = nccl_group::make_id().value();
  const auto peer = gpu_test::start_peer(id, "engine_links/rank_1_measures_too");
  const auto group = gpu_test::group_with_peer(id);
  std::puts("bytes, GB/s: all-reduce, broadcast, all-to-all (3/4 cross), cudaMemcpyPeer");
  for (const auto bytes : sizes) {
    const auto c = measure(*group, bytes);
    const double copy = memcpy_peer(bytes);
    for (const double got : {c.all_reduce, c.broadcast, c.all_to_all, copy}) BOOST_TEST(got > 0);
    std::printf("%10zu %8.1f %8.1f %8.1f %8.1f\n", bytes, c.all_reduce, c.broadcast, c.all_to_all, copy);
  }
  int status = -1;
  waitpid(peer, &status, 0);
  BOOST_TEST(status == 0);
}

BOOST_AUTO_TEST_CASE(rank_1_measures_too) {
  const auto group = gpu_test::peer_group();
  if (!group) return; // the case above starts it
  for (const auto bytes : sizes) measure(*group, bytes);
}

BOOST_AUTO_TEST_SUITE_END()
