// What the parts of cuda_bench share: buffers that end with their bench, and the one way to time.
#pragma once

#include "kernels/bench/cuda_ceilings.hpp"

#include <functional>
#include <string>
#include <vector>

namespace troupe::bench {

/// Ends the program with one line when `status` is an error.
void check(cudaError_t status, const char* what);

/// Device memory that lives as long as the arena.
class arena {
 public:
  arena() = default;
  arena(const arena&) = delete;
  arena& operator=(const arena&) = delete;
  ~arena();

  template <class T>
  T* get(std::size_t count) {
    return static_cast<T*>(allocate(count * sizeof(T)));
  }
  template <class T>
  T* copy(const std::vector<T>& host) {
    T* p = get<T>(host.size());
    check(cudaMemcpy(p, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice), "copy");
    return p;
  }
  std::uint8_t* e4m3(std::size_t count, unsigned seed);
  std::uint16_t* bf16(std::size_t count, unsigned seed);
  float* floats(std::size_t count, float low, float high, unsigned seed);

 private:
  void* allocate(std::size_t bytes);
  std::vector<void*> blocks_;
};

/// Medians of 30 replays of a graph, each after a read of 256 MB, which leaves nothing of the kernel's in L2.
class timer {
 public:
  using work = std::function<void(cudaStream_t)>; ///< enqueues launches, allocates nothing

  timer();
  double median_us(const work& launches, bool cold = true);
  unsigned* sink() const { return sink_; }

 private:
  arena arena_;
  void* flush_;
  unsigned* sink_;
  cudaEvent_t begin_, end_;
  cudaStream_t stream_;
};

/// Ceilings of this card in this run; 0 where a library is missing.
struct ceilings {
  double read_gbs = 0, copy_gbs = 0, bf16_tflops = 0, fp8_tflops = 0, empty_us = 0;
};
ceilings measure_ceilings(timer& t);
/// 8192^3 product through cuBLASLt, which is opened at run time.
double library_tflops(timer& t, bool fp8);

/// One line of the table.
struct line {
  std::string what;
  double us = 0, bytes = 0, flop = 0;
  double target = 0; ///< us, or TFLOP/s when `rate`; 0: none
  bool rate = false;
  double tflops() const { return flop / us / 1e6; }
  /// Above 1: better than the target.
  double ratio() const { return rate ? tflops() / target : target / us; }
};

std::vector<line> bench_experts(timer& t);
std::vector<line> bench_gate(timer& t);
std::vector<line> bench_products(timer& t);
std::vector<line> bench_attention(timer& t);
std::vector<line> bench_sampling(timer& t);

} // namespace troupe::bench
