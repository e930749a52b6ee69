// Math      gate_up: h[s,i] = silu(g) u,  g = W_gate[e] x[s],  u = W_up[e] x[s];  middle = e4m3(h / scale), per 128 i
//           down:    y[s,c] = W_down[e] middle[s];   every product of a 128-wide K block is summed by the tensor core,
//           then scaled by weight scale * row scale and added in fp32 (two-level accumulation)
// Shapes    weights [experts, rows, K] e4m3, 128x128 scales;  x [experts, rows_max, K] e4m3,
//           scales [experts, K/128, rows_max]
// Roofline  weights are read once: 32 experts x 4096 x 7168 = 940 MB and x 7168 x 2048 = 470 MB; at 16 rows 60 flop/B
//           against a ridge of about 370: memory bound; time = bytes / read bandwidth
// Mapping   weights on the M side of wgmma (64 rows an instruction), tokens on the N side (8..96): no padding waste at
//           decode sizes. Persistent CTAs; one producer warp streams 256 weight rows x 128 K and the tokens' 128 K into
//           a ring of 4 or 5 stages; two consumer warpgroups own 128 weight rows each (gate | up, or two halves of
//           down). Slot and warpgroup go through a shuffle, so that descriptors stay in uniform registers
// Invariant a token's bits do not depend on the other tokens of its tile: each accumulator column is its own chain
// Measured  H200, L2-cold, graph replay, reads at 4.55 TB/s in the same run; whole FFN with quantise and combine, eight
//           runs: 32 x 1 344-349 us (0.89-0.90 of the limit), 32 x 16 364-380 us (0.83-0.86), 8 x 4 101-104 us
//           (0.75-0.77), 32 x 64 453-502 us (0.67-0.74: tensor core and promotion wait for each other); 257 experts,
//           128 tokens, router and gate included: 2.71 ms (0.91)
// Source    model-spec.md sections 7 and 9; two-level accumulation as in DeepSeek-V3 (arXiv 2412.19437, section 3.3.2)
#include "kernels/cuda/sm90_grouped_gemm.cuh"

#include <cuda_fp8.h>

namespace troupe::cuda {
namespace {

using namespace grouped;

template <int Tokens>
struct scaled_slot : ring_slot<Tokens> {
  static constexpr std::uint32_t bytes = ring_slot<Tokens>::bytes + Tokens * sizeof(float);
  float scales[Tokens];
};

template <int Tokens>
__device__ void promote(float (&total)[Tokens / 2], float (&part)[Tokens / 2], const float (&factor)[Tokens / 4]) {
  ptx::pin(part);
#pragma unroll
  for (int i = 0; i < Tokens / 2; ++i) total[i] = fmaf(factor[i / 4 * 2 + i % 2], part[i], total[i]);
}

struct fp8_format {
  static constexpr int element_bytes = 1, tokens_max = 96;
  template <int Tokens>
  using slot = scaled_slot<Tokens>;
  static constexpr int releases = consumer_threads; // every lane, since every lane reads scales

  template <int Tokens>
  __device__ static void load_scales(scaled_slot<Tokens>& to, const grouped_gemm_args& args, const tile& t, int k,
                                     std::uint64_t* full) {
    const auto line = static_cast<std::size_t>(t.expert) * (args.cols / 128) + k;
    ptx::copy_line(to.scales, args.token_scales + line * args.rows_max + t.first_row, Tokens * sizeof(float), full);
  }

  template <int Tokens>
  __device__ static void multiply(shared_layout<fp8_format, Tokens>& s, const grouped_gemm_args& args, int weight_row,
                                  int half, int& slot, std::uint32_t& parity, accumulator<Tokens>& total) {
    const int lane = threadIdx.x % 32, k_blocks = args.cols / 128;
    const float* weight_scales = args.weight_scales + static_cast<std::size_t>(weight_row / 128) * k_blocks;
    float scale = __ldg(weight_scales);
    slot = __shfl_sync(~0u, slot, 0); // known to be the same for a warp: descriptors stay in uniform registers
    for (int k = 0; k < k_blocks; ++k) {
      const auto& from = s.ring[slot];
      const float scale_next = k + 1 < k_blocks ? __ldg(weight_scales + k + 1) : 0.0f;
      float part[2][Tokens / 2];
      ptx::mbarrier_wait(&s.full[slot], parity);
      const auto a = ptx::k_major_descriptor(from.weights[half]), b = ptx::k_major_descriptor(from.tokens);
      ptx::wgmma_fence();
#pragma unroll
      for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int step = 0; step < block_bytes / 32; ++step) // 32 bytes further = 2 in descriptor units; 64 rows = 512
          ptx::wgmma_e4m3<Tokens>::run(part[m], a + m * 512 + step * 2, b + step * 2, step != 0);
        ptx::wgmma_commit();
      }
      float factor[Tokens / 4];
#pragma unroll
      for (int j = 0; j < Tokens / 8; ++j) {
        factor[2 * j] = scale * from.scales[8 * j + lane % 4 * 2];
        factor[2 * j + 1] = scale * from.scales[8 * j + lane % 4 * 2 + 1];
      }
      ptx::wgmma_wait<1>(); // promotion of the first half hides behind the product of the second
      promote<Tokens>(total[0], part[0], factor);
      ptx::wgmma_wait<0>();
      ptx::mbarrier_arrive(&s.empty[slot]); // scales will be overwritten, too
      promote<Tokens>(total[1], part[1], factor);
      if (++slot == s.stages) slot = 0, parity ^= 1;
      scale = scale_next;
    }
  }

  __device__ static void store_middle(const grouped_gemm_args& args, const tile& t, int token, const float4& h) {
    float peak = fmaxf(fmaxf(fabsf(h.x), fabsf(h.y)), fmaxf(fabsf(h.z), fabsf(h.w)));
#pragma unroll
    for (int d = 16; d; d /= 2) peak = fmaxf(peak, __shfl_xor_sync(~0u, peak, d));
    const float scale = fmaxf(peak, 1e-4f) / 448.0f;
    const __nv_fp8x4_e4m3 q(make_float4(h.x / scale, h.y / scale, h.z / scale, h.w / scale));
    const int lane = threadIdx.x % 32, intermediate = args.weight_rows / 2;
    auto* to =
        static_cast<std::uint8_t*>(args.middle) + std::size_t(t.slot + token) * intermediate + t.strip * warpgroup_rows;
    reinterpret_cast<__nv_fp8x4_e4m3*>(to)[lane] = q;
    const auto line = static_cast<std::size_t>(t.expert) * (intermediate / 128) + t.strip;
    if (lane == 0) args.middle_scales[line * args.rows_max + t.first_row + token] = scale;
  }
};

} // namespace

cudaError_t fp8_grouped_gemm(stage_of stage, const grouped_gemm_args& args, int rows_hint, cudaStream_t stream) {
  return launch_stage<fp8_format>(stage, args, rows_hint, stream);
}

} // namespace troupe::cuda
