// Math      gate_up: middle[s,i] = bf16(silu(g) u),  g = W_gate[e] x[s],  u = W_up[e] x[s];
//           down:    y[s,c] = bf16(W_down[e] middle[s]);   fp32 sums over all of K
// Shapes    weights [experts, rows, K], x [slots, K], middle [slots, I], y [slots, H] bf16; slots with or without gaps
// Roofline  weights are read once: 32 experts x 4096 x 7168 = 1.88 GB and x 7168 x 2048 = 0.94 GB; n rows an expert are
//           n flop/B against a ridge of about 175: memory bound; time = bytes / read bandwidth
// Mapping   as sm90_fp8_grouped_gemm; a stage is 64 channels of 256 weight rows and of up to 128 tokens, and there are
//           no scales: sums stay in the tensor core's accumulators over all of K
// Invariant a token's bits depend on its row and the weights only, not on the tile's width or where its slot is: each
//           accumulator column is its own chain
// Measured  H200, L2-cold, graph replay, reads at 4.55 TB/s in the same run; whole FFN with rows to slots and combine:
//           32 x 1 667 us (0.93 of the limit), 32 x 16 687 us (0.91), 32 x 64 775 us (0.84), 8 x 4 185 us (0.84); 257
//           experts, 128 tokens, router and gate included: 5.28 ms (0.93). 32 x 256 1867 us (0.45): by count 6 TB/s
//           pass from L2 to the multiprocessors, weights once for every 128 rows
// Rejected  copies of 8 rows, only those that are there: no faster, 32 x 256 of constant rows slower (gate_up 952 us,
// 777
//           before); six stages for up to 16 tokens: no faster; weights of several tiles not evicted first: the same
// Source    model-spec.md section 7
#include "kernels/cuda/common/wgmma_bf16.cuh"
#include "kernels/cuda/sm90_grouped_gemm.cuh"

namespace troupe::cuda {
namespace {

using namespace grouped;

struct bf16_format {
  static constexpr int element_bytes = 2, tokens_max = 128;
  template <int Tokens>
  using slot = ring_slot<Tokens>;
  static constexpr int releases = consumer_threads / 32;

  template <int Tokens>
  __device__ static void load_scales(slot<Tokens>&, const grouped_gemm_args&, const tile&, int, std::uint64_t*) {}

  template <int Tokens>
  __device__ static void multiply(shared_layout<bf16_format, Tokens>& s, const grouped_gemm_args& args, int, int half,
                                  int& slot, std::uint32_t& parity, accumulator<Tokens>& total) {
    slot = __shfl_sync(~0u, slot, 0); // known to be the same for a warp: descriptors stay in uniform registers
    const auto release = [&](int of) {
      if (threadIdx.x % 32 == 0) ptx::mbarrier_arrive(&s.empty[of]);
    };
    // Products run on while the next block begins, but then a slot is free only when that block is there: where four
    // is all there are, 32 x 64 takes 826 us that way (775).
    constexpr int running = Tokens <= 64 ? 1 : 0;
    int before = slot;
    for (int k = 0; k < args.cols / block_k<bf16_format>; ++k) {
      const auto& from = s.ring[slot];
      ptx::mbarrier_wait(&s.full[slot], parity);
      const auto a = ptx::k_major_descriptor(from.weights[half]), b = ptx::k_major_descriptor(from.tokens);
      ptx::wgmma_fence();
#pragma unroll
      for (int step = 0; step < block_bytes / 32; ++step) // 32 bytes further = 2 in descriptor units; 64 rows = 512
#pragma unroll
        for (int m = 0; m < 2; ++m) ptx::wgmma_bf16<Tokens>::run(total[m], a + m * 512 + step * 2, b + step * 2, 1);
      ptx::wgmma_commit();
      if (k >= running) {
        ptx::wgmma_wait<running>();
        release(running ? before : slot);
      }
      before = slot;
      if (++slot == s.stages) slot = 0, parity ^= 1;
    }
    ptx::wgmma_wait<0>();
    if (running) release(before);
#pragma unroll
    for (int m = 0; m < 2; ++m) ptx::pin(total[m]);
  }

  __device__ static void store_middle(const grouped_gemm_args& args, const tile& t, int token, const float4& h) {
    const __nv_bfloat162 pairs[2] = {__floats2bfloat162_rn(h.x, h.y), __floats2bfloat162_rn(h.z, h.w)};
    auto* to = static_cast<__nv_bfloat16*>(args.middle) + std::size_t(t.slot + token) * (args.weight_rows / 2) +
               t.strip * warpgroup_rows;
    reinterpret_cast<uint2*>(to)[threadIdx.x % 32] = reinterpret_cast<const uint2&>(pairs);
  }
};

} // namespace

cudaError_t bf16_grouped_gemm(stage_of stage, const grouped_gemm_args& args, int rows_hint, cudaStream_t stream) {
  return launch_stage<bf16_format>(stage, args, rows_hint, stream);
}

} // namespace troupe::cuda
