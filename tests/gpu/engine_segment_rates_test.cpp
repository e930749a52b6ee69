// How fast memory of another process is read, by a kernel and by copies, beside cudaMemcpyPeer of the same bytes.
#include "kernels/cuda/rows.hpp"
#include "runtime/exec/device/peer_table.hpp"
#include "tests/gpu/segment_peer.hpp"

#include <chrono>
#include <cstdio>
#include <functional>

using namespace troupe;
using namespace troupe::exec;
using gpu_test::peer_request, gpu_test::segment_peer;

BOOST_AUTO_TEST_SUITE(engine_segment_rates, *boost::unit_test::precondition(troupe::test::needs_gpu))

/// Prints how long one piece of another process's memory takes, and the rate of many, beside cudaMemcpyPeer's.
BOOST_AUTO_TEST_CASE(segments_are_read_at_any_size) {
  segment_peer peer(1, false, 0, 1);
  must(cudaSetDevice(0));
  int count = 0;
  must(cudaGetDeviceCount(&count));
  std::printf("%s; bytes, us of one read and GB/s of many: kernel, cudaMemcpyAsync, cudaMemcpyPeerAsync\n",
              count > 1 ? "GPU 1 to GPU 0" : "one GPU");
  for (const std::size_t bytes : {std::size_t{16} << 10, std::size_t{64} << 10, std::size_t{1} << 20,
                                  std::size_t{16} << 20, std::size_t{256} << 20}) {
    peer.ask({peer_request::kind::export_bytes, 0x5a, {}, bytes});
    const auto segment = peer.answer().segment;
    mapped_segment<cuda_ipc> mapped;
    const auto* const from = mapped.follow(segment).value();
    const device_memory to = device_memory::allocate(bytes).value();
    const cuda_stream stream;
    must(cudaMemset(to.as<void>(), 0, bytes)), must(cudaDeviceSynchronize());
    const auto piece = static_cast<std::int64_t>(bytes);
    const std::function<void()> ways[] = {
        [&] {
          must(cuda::copy_pieces({{{from, to.as<void>(), piece}}}, stream));
        },
        [&] { must(cudaMemcpyAsync(to.as<void>(), from, bytes, cudaMemcpyDefault, stream)); },
        [&] { must(cudaMemcpyPeerAsync(to.as<void>(), 0, from, count > 1 ? 1 : 0, bytes, stream)); },
    };
    std::printf("%10zu", bytes);
    for (const auto& copy : ways) {
      constexpr int passes = 30;
      copy(), stream.wait();
      const auto begin = std::chrono::steady_clock::now();
      for (int i = 0; i < passes; ++i) copy(), stream.wait();
      const auto end = std::chrono::steady_clock::now();
      const cuda_event first, last;
      must(cudaEventRecord(first, stream));
      for (int i = 0; i < passes; ++i) copy();
      must(cudaEventRecord(last, stream)), stream.wait();
      float ms = 0;
      must(cudaEventElapsedTime(&ms, first, last));
      std::printf("  %8.1f us %7.1f", std::chrono::duration<double, std::micro>(end - begin).count() / passes,
                  double(bytes) * passes / 1e6 / double(ms));
    }
    std::puts("");
    std::vector<unsigned char> got(bytes);
    must(cudaMemcpy(got.data(), to.as<void>(), bytes, cudaMemcpyDeviceToHost));
    BOOST_TEST(std::ranges::all_of(got, [](auto b) { return b == 0x5a; }));
  }
}

BOOST_AUTO_TEST_SUITE_END()
