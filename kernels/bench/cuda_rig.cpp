#include "kernels/bench/cuda_rig.hpp"

#include "kernels/cuda/read_only.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace troupe::bench {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "cuda_bench: %s: %s\n", what, cudaGetErrorString(status));
  std::exit(1);
}

arena::~arena() {
  for (void* p : blocks_) cudaFree(p);
}
void* arena::allocate(std::size_t bytes) {
  void* p = nullptr;
  check(cudaMalloc(&p, bytes), "cudaMalloc");
  blocks_.push_back(p);
  return p;
}
std::uint8_t* arena::e4m3(std::size_t count, unsigned seed) {
  auto* p = get<std::uint8_t>(count);
  fill_e4m3(p, count, seed);
  return p;
}
std::uint16_t* arena::bf16(std::size_t count, unsigned seed) {
  auto* p = get<std::uint16_t>(count);
  fill_bf16(p, count, seed);
  return p;
}
float* arena::floats(std::size_t count, float low, float high, unsigned seed) {
  auto* p = get<float>(count);
  fill_floats(p, count, low, high, seed);
  return p;
}

namespace {
constexpr std::size_t flush_bytes = 256u << 20;
}

timer::timer() : flush_(arena_.get<char>(flush_bytes)), sink_(arena_.get<unsigned>(1)) {
  check(cudaEventCreate(&begin_), "event"), check(cudaEventCreate(&end_), "event");
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "stream");
}

double timer::median_us(const work& launches, bool cold) {
  check(cudaDeviceSynchronize(), "fill");
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "capture");
  launches(stream_);
  check(cudaStreamEndCapture(stream_, &graph), "capture");
  check(cudaGraphInstantiate(&replay, graph, 0), "graph");
  std::vector<float> ms;
  for (int i = 0; i < 33; ++i) {
    if (cold) cuda::read_only(flush_, flush_bytes, sink_, stream_);
    check(cudaEventRecord(begin_, stream_), "record");
    check(cudaGraphLaunch(replay, stream_), "replay");
    check(cudaEventRecord(end_, stream_), "record");
    check(cudaEventSynchronize(end_), "kernel");
    float t = 0;
    check(cudaEventElapsedTime(&t, begin_, end_), "elapsed");
    if (i >= 3) ms.push_back(t);
  }
  check(cudaGraphExecDestroy(replay), "graph"), check(cudaGraphDestroy(graph), "graph");
  std::nth_element(ms.begin(), ms.begin() + ms.size() / 2, ms.end());
  return 1e3 * ms[ms.size() / 2];
}

ceilings measure_ceilings(timer& t) {
  ceilings c;
  {
    arena a;
    const std::size_t bytes = std::size_t{4} << 30;
    const void* data = a.floats(bytes / 4, -1, 1, 1);
    c.read_gbs = bytes / t.median_us([&](cudaStream_t s) { cuda::read_only(data, bytes, t.sink(), s); }, false) / 1e3;
    void* to = a.get<char>(bytes);
    c.copy_gbs =
        2 * bytes /
        t.median_us([&](cudaStream_t s) { cudaMemcpyAsync(to, data, bytes, cudaMemcpyDeviceToDevice, s); }, false) /
        1e3;
  }
  c.empty_us = t.median_us(nothing);
  c.bf16_tflops = library_tflops(t, false), c.fp8_tflops = library_tflops(t, true);
  return c;
}

} // namespace troupe::bench
