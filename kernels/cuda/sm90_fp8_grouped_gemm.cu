// Math      gate_up: h[s,i] = silu(g) u,  g = W_gate[e] x[s],  u = W_up[e] x[s];  middle = e4m3(h / scale), per 128 i
//           down:    y[s,c] = W_down[e] middle[s];   every product of a 128-wide K block is summed by the tensor core,
//           then scaled by weight scale * row scale and added in fp32 (two-level accumulation)
// Shapes    weights [experts, rows, K] e4m3, 128x128 scales;  x [experts, rows_max, K] e4m3,
//           scales [experts, K/128, rows_max]
// Roofline  weights are read once: 32 experts x 4096 x 7168 = 940 MB and x 7168 x 2048 = 470 MB; at 16 rows 60 flop/B
//           against a ridge of about 370: memory bound; time = bytes / read bandwidth
// Mapping   weights on the M side of wgmma (64 rows an instruction), tokens on the N side (8..96): no padding waste at
//           decode sizes. Persistent CTAs; one producer warp streams 256 weight rows x 128 K and the tokens' 128 K into
//           a ring of 3-5 stages; two consumer warpgroups own 128 weight rows each (gate | up, or two halves of down).
//           Slot and warpgroup go through a shuffle, so that descriptors stay in uniform registers
// Invariant a token's bits do not depend on the other tokens of its tile: each accumulator column is its own chain
// Measured  H200, L2-cold, graph replay, reads at 4.56 TB/s in the same run; whole FFN with quantise and combine:
//           32 x 1 349 us (0.89 of the limit), 32 x 16 378 us (0.83), 8 x 4 108 us (0.72), 32 x 64 500 us (0.67: tensor
//           core and promotion wait for each other); 257 experts, 128 tokens, router and gate included: 2.73 ms (0.90)
// Source    model-spec.md sections 7 and 9; two-level accumulation as in DeepSeek-V3 (arXiv 2412.19437, section 3.3.2)
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/tensor_map.hpp"
#include "kernels/cuda/common/wgmma.cuh"
#include "kernels/cuda/grouped_ffn.hpp"

#include <cuda_bf16.h>
#include <cuda_fp8.h>

namespace troupe::cuda {
namespace {

constexpr int block_k = 128;
constexpr int warpgroup_rows = 128; // weight rows of one consumer warpgroup
constexpr int consumer_threads = 256;
constexpr int threads = consumer_threads + 128;
constexpr int experts_max = 320; // 256 routed, shared ones and redundant copies

enum class stage_of { gate_up, down };

template <int Tokens>
struct alignas(1024) ring_slot {
  std::uint8_t weights[2][warpgroup_rows][block_k]; // swizzled by the copy engine
  std::uint8_t tokens[Tokens][block_k];
  float scales[256]; // Tokens in use; padded to 1024 bytes so that the next slot stays aligned
};

template <int Tokens>
struct shared_layout {
  static constexpr int stages = Tokens <= 32 ? 5 : Tokens <= 64 ? 4 : 3;
  ring_slot<Tokens> ring[stages];
  union {
    float exchange[Tokens][warpgroup_rows + 4];         // gate_up: up half, then h, on its way to quantisation
    __nv_bfloat16 rows[Tokens][2 * warpgroup_rows + 8]; // down: transposed on its way out
  };
  std::uint64_t full[stages], empty[stages];
  int2 active[experts_max]; // experts with rows, and how many
  int active_of_warp[threads / 32];
};

struct gemm_args {
  const float* weight_scales; // [experts, weight_rows / 128, k_blocks]
  const float* token_scales;  // [experts, k_blocks, rows_max]
  const int* rows;            // [experts]
  std::uint8_t* middle;       // gate_up: [experts, rows_max, intermediate]
  float* middle_scales;       // gate_up: [experts, intermediate / 128, rows_max]
  std::uint16_t* outputs;     // down: [experts, rows_max, hidden]
  int experts, rows_max, weight_rows, k_blocks;
};

struct tile {
  int expert, rows, strip,
      first_row; // rows of the expert; strip: 256 weight rows (down), or 128 gate and 128 up rows (gate_up)
};

// Lists the experts that have rows: walking over all 256 would cost a decode step of one token more than its products.
template <int Tokens>
__device__ int list_active(shared_layout<Tokens>& s, const gemm_args& args) {
  static_assert(experts_max <= threads, "one thread an expert");
  const int e = threadIdx.x, warp = e / 32, rows = e < args.experts ? args.rows[e] : 0;
  const unsigned votes = __ballot_sync(~0u, rows > 0);
  if (e % 32 == 0) s.active_of_warp[warp] = __popc(votes);
  __syncthreads();
  int before = 0, all = 0;
  for (int w = 0; w < threads / 32; ++w) {
    if (w == warp) before = all;
    all += s.active_of_warp[w];
  }
  if (rows > 0) s.active[before + __popc(votes & ((1u << (e % 32)) - 1))] = {e, rows};
  __syncthreads();
  return all;
}

// Walks the tiles of one CTA. Token tiles of a strip are neighbours, so that its weights come from memory once.
template <int Tokens>
struct tile_walk {
  const int2* active;
  int count, strips, next, at = 0, before = 0;
  __device__ tile_walk(const int2* a, int c, int s) : active(a), count(c), strips(s), next(blockIdx.x) {}
  __device__ bool advance(tile& t) {
    for (; at < count; ++at) {
      const int high = (active[at].y + Tokens - 1) / Tokens, here = strips * high;
      if (next < before + here) {
        const int local = next - before;
        t = {active[at].x, active[at].y, local / high, local % high * Tokens};
        next += gridDim.x;
        return true;
      }
      before += here;
    }
    return false;
  }
};

template <stage_of Stage>
__device__ int weight_row(const tile& t, int half, int weight_rows) {
  const int base = t.expert * weight_rows;
  if constexpr (Stage == stage_of::gate_up) return base + half * (weight_rows / 2) + t.strip * warpgroup_rows;
  return base + (2 * t.strip + half) * warpgroup_rows;
}

template <stage_of Stage, int Tokens>
struct producer {
  shared_layout<Tokens>& s;
  const CUtensorMap *weights, *tokens;
  const gemm_args& args;

  __device__ void load_weights(int slot, const tile& t, int k) {
    constexpr std::uint32_t bytes = 2 * warpgroup_rows * block_k + Tokens * block_k + Tokens * sizeof(float);
    ptx::mbarrier_expect_bytes(&s.full[slot], bytes);
    for (int half = 0; half < 2; ++half)
      ptx::copy_tile(s.ring[slot].weights[half], weights, &s.full[slot], k * block_k,
                     weight_row<Stage>(t, half, args.weight_rows), ptx::evict_first);
  }
  __device__ void load_tokens(int slot, const tile& t, int k) {
    ptx::copy_tile(s.ring[slot].tokens, tokens, &s.full[slot], k * block_k, t.expert * args.rows_max + t.first_row,
                   ptx::evict_last);
    ptx::copy_line(s.ring[slot].scales,
                   args.token_scales + (static_cast<std::size_t>(t.expert) * args.k_blocks + k) * args.rows_max +
                       t.first_row,
                   Tokens * sizeof(float), &s.full[slot]);
  }
  /// Weights that fill the ring do not wait for the kernel before this one.
  __device__ void run(tile_walk<Tokens> walk) {
    tile t;
    bool more = walk.advance(t);
    int k = more ? min(s.stages, args.k_blocks) : 0;
    for (int i = 0; i < k; ++i) load_weights(i, t, i);
    ptx::grid_dependency_wait();
    ptx::grid_launch_dependents();
    for (int i = 0; i < k; ++i) load_tokens(i, t, i);
    int slot = k == s.stages ? 0 : k;
    std::uint32_t parity = k == s.stages ? 0 : 1;
    for (; more; more = walk.advance(t), k = 0)
      for (; k < args.k_blocks; ++k) {
        ptx::mbarrier_wait(&s.empty[slot], parity);
        load_weights(slot, t, k);
        load_tokens(slot, t, k);
        if (++slot == s.stages) slot = 0, parity ^= 1;
      }
  }
};

// Accumulator element i of a thread: weight row warp * 16 + lane / 4 + 8 * ((i / 2) % 2), token 8 * (i / 4) + lane % 4
// * 2 + i % 2.
template <int Tokens>
using accumulator = float[2][Tokens / 2]; // two 64-row halves of the warpgroup's 128 rows

template <int Tokens>
__device__ void promote(float (&total)[Tokens / 2], float (&part)[Tokens / 2], const float (&factor)[Tokens / 4]) {
  ptx::pin(part);
#pragma unroll
  for (int i = 0; i < Tokens / 2; ++i) total[i] = fmaf(factor[i / 4 * 2 + i % 2], part[i], total[i]);
}

template <int Tokens>
__device__ void multiply(shared_layout<Tokens>& s, const float* weight_scales, int k_blocks, int half, int& slot,
                         std::uint32_t& parity, accumulator<Tokens>& total) {
  const int lane = threadIdx.x % 32;
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
      for (int step = 0; step < block_k / 32; ++step) // 32 bytes further = 2 in descriptor units; 64 rows = 512
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
    ptx::mbarrier_arrive(&s.empty[slot]); // every lane, since every lane has read scales that will be overwritten
    promote<Tokens>(total[1], part[1], factor);
    if (++slot == s.stages) slot = 0, parity ^= 1;
    scale = scale_next;
  }
}

template <int Tokens, class Visit>
__device__ void for_each_element(Visit visit) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x % 128 / 32;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int i = 0; i < Tokens / 2; ++i)
      visit(m, i, m * 64 + warp * 16 + lane / 4 + i / 2 % 2 * 8, i / 4 * 8 + lane % 4 * 2 + i % 2);
}

// Up warpgroup hands u over; gate warpgroup forms h; then all eight warps quantise a token at a time.
template <int Tokens>
__device__ void store_gate_up(shared_layout<Tokens>& s, const gemm_args& args, const tile& t, int half,
                              accumulator<Tokens>& total) {
  if (half == 1)
    for_each_element<Tokens>([&](int m, int i, int row, int token) { s.exchange[token][row] = total[m][i]; });
  ptx::named_barrier(1, consumer_threads);
  if (half == 0)
    for_each_element<Tokens>([&](int m, int i, int row, int token) {
      const float gate = total[m][i];
      s.exchange[token][row] = gate / (1.0f + __expf(-gate)) * s.exchange[token][row];
    });
  ptx::named_barrier(1, consumer_threads);
  const int lane = threadIdx.x % 32, intermediate = args.weight_rows / 2;
  const int rows_here = min(Tokens, t.rows - t.first_row);
  for (int token = threadIdx.x / 32; token < rows_here; token += consumer_threads / 32) {
    const float4 h = *reinterpret_cast<const float4*>(&s.exchange[token][4 * lane]);
    float peak = fmaxf(fmaxf(fabsf(h.x), fabsf(h.y)), fmaxf(fabsf(h.z), fabsf(h.w)));
#pragma unroll
    for (int d = 16; d; d /= 2) peak = fmaxf(peak, __shfl_xor_sync(~0u, peak, d));
    const float scale = fmaxf(peak, 1e-4f) / 448.0f;
    const __nv_fp8x4_e4m3 q(make_float4(h.x / scale, h.y / scale, h.z / scale, h.w / scale));
    const std::size_t row = static_cast<std::size_t>(t.expert) * args.rows_max + t.first_row + token;
    *reinterpret_cast<__nv_fp8x4_e4m3*>(args.middle + row * intermediate + t.strip * warpgroup_rows + 4 * lane) = q;
    if (lane == 0)
      args.middle_scales[(static_cast<std::size_t>(t.expert) * (intermediate / 128) + t.strip) * args.rows_max +
                         t.first_row + token] = scale;
  }
  ptx::named_barrier(1, consumer_threads);
}

template <int Tokens>
__device__ void store_down(shared_layout<Tokens>& s, const gemm_args& args, const tile& t, int half,
                           accumulator<Tokens>& total) {
  for_each_element<Tokens>([&](int m, int i, int row, int token) {
    s.rows[token][half * warpgroup_rows + row] = __float2bfloat16_rn(total[m][i]);
  });
  ptx::named_barrier(1, consumer_threads);
  const int lane = threadIdx.x % 32;
  const int rows_here = min(Tokens, t.rows - t.first_row);
  for (int token = threadIdx.x / 32; token < rows_here; token += consumer_threads / 32) {
    const std::size_t row = static_cast<std::size_t>(t.expert) * args.rows_max + t.first_row + token;
    auto* out = args.outputs + row * args.weight_rows + 2 * warpgroup_rows * t.strip;
    reinterpret_cast<uint4*>(out)[lane] = *reinterpret_cast<const uint4*>(&s.rows[token][8 * lane]);
  }
  ptx::named_barrier(1, consumer_threads);
}

template <stage_of Stage, int Tokens>
__global__ void __launch_bounds__(threads, 1)
    grouped_gemm_kernel(const __grid_constant__ CUtensorMap weights, const __grid_constant__ CUtensorMap tokens,
                        const gemm_args args) {
  extern __shared__ __align__(1024) std::uint8_t raw[];
  auto& s = *reinterpret_cast<shared_layout<Tokens>*>(raw);
  if (ptx::shared_address(raw) % 1024) __trap(); // swizzles assume it
  if (threadIdx.x == 0) {
    for (int i = 0; i < s.stages; ++i)
      ptx::mbarrier_init(&s.full[i], 1), ptx::mbarrier_init(&s.empty[i], consumer_threads);
    ptx::fence_barrier_init();
  }
  // What gate_up waits for says which rows there are; down knows, since gate_up waited for them before it let down
  // start.
  if constexpr (Stage == stage_of::gate_up) ptx::grid_dependency_wait();
  const int active = list_active(s, args);

  const int strips = args.weight_rows / (2 * warpgroup_rows);
  tile_walk<Tokens> walk(s.active, active, strips);
  if (threadIdx.x >= consumer_threads) {
    ptx::give_registers<40>();
    if (threadIdx.x == consumer_threads) producer<Stage, Tokens>{s, &weights, &tokens, args}.run(walk);
    return;
  }
  ptx::take_registers<232>();
  const int half = __shfl_sync(~0u, threadIdx.x / 128, 0);
  int slot = 0;
  std::uint32_t parity = 0;
  for (tile t; walk.advance(t);) {
    accumulator<Tokens> total = {};
    const int scale_row = weight_row<Stage>(t, half, args.weight_rows) / 128;
    multiply<Tokens>(s, args.weight_scales + static_cast<std::size_t>(scale_row) * args.k_blocks, args.k_blocks, half,
                     slot, parity, total);
    if constexpr (Stage == stage_of::gate_up)
      store_gate_up<Tokens>(s, args, t, half, total);
    else
      store_down<Tokens>(s, args, t, half, total);
  }
}

template <stage_of Stage, int Tokens>
cudaError_t launch(const gemm_args& args, const std::uint8_t* weights, const std::uint8_t* tokens,
                   cudaStream_t stream) {
  CUtensorMap weight_map, token_map;
  const std::uint64_t cols = static_cast<std::uint64_t>(args.k_blocks) * block_k;
  if (const auto e =
          make_byte_map(&weight_map, weights, std::uint64_t(args.experts) * args.weight_rows, cols, warpgroup_rows))
    return e;
  if (const auto e = make_byte_map(&token_map, tokens, std::uint64_t(args.experts) * args.rows_max, cols, Tokens))
    return e;
  constexpr int shared_bytes = sizeof(shared_layout<Tokens>);
  static_assert(shared_bytes <= 232448, "one CTA's shared memory on sm_90");
  int sms = 0;
  if (const auto e = multiprocessors(sms)) return e;
  return launch_dependent(grouped_gemm_kernel<Stage, Tokens>, {dim3(sms), threads, shared_bytes}, stream, weight_map,
                          token_map, args);
}

// The narrowest tile that holds an expert's rows: weights are then read once.
template <stage_of Stage>
cudaError_t launch_for(int rows_hint, const gemm_args& args, const std::uint8_t* weights, const std::uint8_t* tokens,
                       cudaStream_t stream) {
  if (args.rows_max <= 0 || args.rows_max % 8 || args.experts > experts_max) return cudaErrorInvalidValue;
  if (args.experts == 0) return cudaSuccess;
  if (rows_hint <= 8 || args.rows_max < 16) return launch<Stage, 8>(args, weights, tokens, stream);
  if (rows_hint <= 16 || args.rows_max < 32) return launch<Stage, 16>(args, weights, tokens, stream);
  if (rows_hint <= 32 || args.rows_max < 64) return launch<Stage, 32>(args, weights, tokens, stream);
  if (rows_hint <= 64 || args.rows_max < 96) return launch<Stage, 64>(args, weights, tokens, stream);
  return launch<Stage, 96>(args, weights, tokens, stream);
}

} // namespace

cudaError_t grouped_gate_up(const ffn_shape& shape, const ffn_weights& w, const ffn_routing& routing,
                            const ffn_workspace& ws, int rows_hint, cudaStream_t stream) {
  const gemm_args args{w.gate_up_scales,       ws.input_scales,
                       routing.rows,           ws.middle,
                       ws.middle_scales,       nullptr,
                       shape.experts,          shape.rows_max,
                       2 * shape.intermediate, shape.hidden / block_k};
  return launch_for<stage_of::gate_up>(rows_hint, args, w.gate_up, ws.inputs, stream);
}

cudaError_t grouped_down(const ffn_shape& shape, const ffn_weights& w, const ffn_routing& routing,
                         const ffn_workspace& ws, int rows_hint, cudaStream_t stream) {
  const gemm_args args{w.down_scales, ws.middle_scales, routing.rows,   nullptr,      nullptr,
                       ws.outputs,    shape.experts,    shape.rows_max, shape.hidden, shape.intermediate / block_k};
  return launch_for<stage_of::down>(rows_hint, args, w.down, ws.middle, stream);
}

} // namespace troupe::cuda
