// Math      S[r,p] = scale q[r] . k[p],  P = softmax_p S,  z[r] = sum_p P[r,p] k[p, 0:512];  fp32 softmax
// Shapes    as sm90_bf16_mla_decode.cu; a cache of fp8_ds_mla is widened to bf16 on its way into shared memory
// Roofline  A100, on paper: 604 MB of 128 requests x 4096 at 2.0 TB/s is 0.30 ms, 146 GFLOP at 312 TFLOP/s is 0.47 ms.
//           Shared memory gives at most half of that: a warp reads 32 KB a tile of 32 positions for 0.55 MFLOP
// Mapping   one CTA per 32 rows of a request (16 when there are no more) and split of its positions; four warps share
// 16
//           rows: each scores 144 channels of q, held in registers, and sums up 128 columns of the values. The four
//           parts of S meet in shared memory; each warp then has all of P in the registers that the second product
//           wants. Tiles of 32 positions go through two buffers; 82 or 90 KB of shared memory fit every GPU from sm_80
//           on
// Invariant rows are independent; the order of additions depends on the split plan, not on the batch
// Source    model-spec.md 6.3
#include "kernels/cuda/common/mma.cuh"
#include "kernels/cuda/common/split_plan.cuh"
#include "kernels/cuda/common/warp_copy.cuh"
#include "kernels/cuda/mla_decode_parts.hpp"

#include <cuda_bf16.h>

#include <cmath>

namespace troupe::cuda {
namespace {

constexpr int tile_positions = 32;
constexpr int position_tiles = tile_positions / 8; // columns of S, 8 to a product
constexpr int warps_of_rows = 4;                   // that share 16 rows
constexpr int group_threads = warps_of_rows * 32, group_rows = 16, groups_max = 2;
constexpr int score_steps = mla_entry / warps_of_rows / 16; // of 16 channels
constexpr int value_tiles = mla_latent / warps_of_rows / 8; // of 8 columns
constexpr int chunks = mla_entry * 2 / 16;                  // 16-byte chunks of an entry

/// Chunk c of an entry lies at c ^ (position % 8), so that eight positions' chunks are in eight banks.
struct alignas(128) entry_tile {
  uint4 chunk[tile_positions][chunks];
  __device__ uint4* at(int position, int c) { return &chunk[position][c ^ (position % 8)]; }
};

struct shared_layout {
  entry_tile tile[2];
  float4 scores[groups_max][warps_of_rows][position_tiles][32]; // parts of S, as the lanes hold them
};

constexpr int shared_bytes(int groups) {
  return sizeof(shared_layout) - (groups_max - groups) * int(sizeof(shared_layout::scores)) / groups_max;
}

/// A warp's 16 rows; element i of a product is row lane/4 + 8 (i/2), columns as mma::tile.
struct rows_state {
  uint4 q[score_steps];
  mma::tile o[value_tiles] = {};
  float peak[2] = {-INFINITY, -INFINITY}, sum[2] = {};
};

__device__ int lane_row() { return threadIdx.x % 32 / 4; }
__device__ int lane_column() { return threadIdx.x % 4 * 2; }
__device__ int group() { return threadIdx.x / group_threads; }
__device__ int quarter() { return threadIdx.x / 32 % warps_of_rows; }

__device__ std::uint32_t pack(float low, float high) {
  const auto pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

/// This warp's quarter of the channels of its rows; `q` is the tile's first row, rows past `rows` repeat the last.
__device__ void load_query(rows_state& st, const std::uint16_t* q, int rows) {
  const auto* from = q + quarter() * score_steps * 16 + lane_column();
  const auto* low = from + std::size_t(min(group() * group_rows + lane_row(), rows - 1)) * mla_entry;
  const auto* high = from + std::size_t(min(group() * group_rows + lane_row() + 8, rows - 1)) * mla_entry;
  const auto pair = [](const std::uint16_t* p) { return *reinterpret_cast<const std::uint32_t*>(p); };
#pragma unroll
  for (int s = 0; s < score_steps; ++s)
    st.q[s] = {pair(low + s * 16), pair(high + s * 16), pair(low + s * 16 + 8), pair(high + s * 16 + 8)};
}

/// The first entry of tile `index`, whose positions all lie in one page.
template <cache_format Format>
__device__ const std::uint8_t* tile_entries(const mla_decode_args& args, const int* table, int index) {
  constexpr int tiles_of_page = mla_page / tile_positions;
  const auto position = std::size_t(table[index / tiles_of_page]) * mla_page + index % tiles_of_page * tile_positions;
  return static_cast<const std::uint8_t*>(args.cache) + position * mla_entry_bytes(Format);
}

/// Brings tiles into shared memory: what start() began is there after finish() and a barrier.
template <cache_format Format>
struct tile_loader {
  __device__ void start(entry_tile& tile, const std::uint8_t* entries) {
    for (int i = threadIdx.x; i < tile_positions * chunks; i += blockDim.x)
      ptx::copy_async(tile.at(i / chunks, i % chunks), entries + std::size_t(i) * 16);
  }
  __device__ void finish(entry_tile&) { ptx::wait_copies(); }
};

/// Codes wait in registers until they are widened. A lane holds the same 16 channels of every position of its warp, and
/// one of the warp's scales.
template <>
struct tile_loader<cache_format::fp8_ds_mla> {
  static constexpr int bytes = mla_entry_bytes(cache_format::fp8_ds_mla), rope_bytes = 2 * (mla_entry - mla_latent);
  static constexpr int rope_chunks = rope_bytes / 16, scales = mla_latent / 128;
  static constexpr int positions_most = tile_positions / warps_of_rows; // of a warp, with one group of threads
  uint4 codes[positions_most];
  float scale;

  __device__ static int position_of(int i) { return (threadIdx.x + i * blockDim.x) / 32; }

  __device__ void start(entry_tile& tile, const std::uint8_t* entries) {
    for (int i = threadIdx.x; i < tile_positions * rope_chunks; i += blockDim.x)
      ptx::copy_async(tile.at(i / rope_chunks, chunks - rope_chunks + i % rope_chunks),
                      entries + (i / rope_chunks + 1) * bytes - rope_bytes + i % rope_chunks * 16);
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < positions_most && position_of(i) < tile_positions; ++i)
      codes[i] = __ldg(reinterpret_cast<const uint4*>(entries + position_of(i) * bytes) + lane);
    const auto* entry = entries + min(position_of(lane / scales), tile_positions - 1) * bytes;
    scale = __ldg(reinterpret_cast<const float*>(entry + mla_latent) + lane % scales);
  }
  __device__ void finish(entry_tile& tile) {
    const std::uint32_t factors = mma::widen_factor(scale);
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < positions_most && position_of(i) < tile_positions; ++i) {
      const std::uint32_t factor = __shfl_sync(~0u, factors, i * scales + lane / 8);
      *tile.at(position_of(i), 2 * lane) = mma::widen(codes[i].x, codes[i].y, factor);
      *tile.at(position_of(i), 2 * lane + 1) = mma::widen(codes[i].z, codes[i].w, factor);
    }
    ptx::wait_copies();
  }
};

/// This quarter's part of S for all positions of the tile.
__device__ void score(const rows_state& st, entry_tile& tile, float4 (*out)[32]) {
  const int lane = threadIdx.x % 32, position = lane / 16 * 8 + lane % 8,
            chunk = quarter() * score_steps * 2 + lane / 8 % 2;
  mma::tile s[position_tiles] = {};
#pragma unroll
  for (int k = 0; k < score_steps; ++k)
#pragma unroll
    for (int pair = 0; pair < position_tiles; pair += 2) {
      const uint4 b = ptx::load_matrices(tile.at(pair * 8 + position, chunk + 2 * k));
      mma::multiply_16(s[pair], st.q[k].x, st.q[k].y, st.q[k].z, st.q[k].w, b.x, b.y);
      mma::multiply_16(s[pair + 1], st.q[k].x, st.q[k].y, st.q[k].z, st.q[k].w, b.z, b.w);
    }
#pragma unroll
  for (int t = 0; t < position_tiles; ++t) out[t][lane] = make_float4(s[t][0], s[t][1], s[t][2], s[t][3]);
}

/// The four parts added, scaled for 2^x, and -inf where a row does not see the position.
__device__ void gather_scores(const float4 (*parts)[position_tiles][32], float scale_log2, int first_position,
                              const int (&visible)[2], mma::tile (&p)[position_tiles]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int t = 0; t < position_tiles; ++t) {
    float4 sum = parts[0][t][lane];
#pragma unroll
    for (int w = 1; w < warps_of_rows; ++w) {
      const float4 part = parts[w][t][lane];
      sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
    }
    const float of[4] = {sum.x, sum.y, sum.z, sum.w};
#pragma unroll
    for (int i = 0; i < 4; ++i)
      p[t][i] = first_position + t * 8 + lane_column() + i % 2 < visible[i / 2] ? of[i] * scale_log2 : -INFINITY;
  }
}

/// p becomes 2^(p - peak); the running output and sum follow the new peak.
__device__ void soften(rows_state& st, mma::tile (&p)[position_tiles]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float peak = st.peak[r];
#pragma unroll
    for (int t = 0; t < position_tiles; ++t) peak = fmaxf(peak, fmaxf(p[t][2 * r], p[t][2 * r + 1]));
    for (int lanes = 1; lanes <= 2; lanes *= 2) peak = fmaxf(peak, __shfl_xor_sync(~0u, peak, lanes));
    const float base = peak == -INFINITY ? 0.0f : peak; // nothing seen yet: every 2^p is 0
    const float factor = ptx::exp2_approx(st.peak[r] - base);
    st.peak[r] = peak, st.sum[r] *= factor;
#pragma unroll
    for (int t = 0; t < value_tiles; ++t) st.o[t][2 * r] *= factor, st.o[t][2 * r + 1] *= factor;
#pragma unroll
    for (int t = 0; t < position_tiles; ++t)
#pragma unroll
      for (int i = 2 * r; i < 2 * r + 2; ++i) st.sum[r] += p[t][i] = ptx::exp2_approx(p[t][i] - base);
  }
}

/// o += P V for this quarter's columns.
__device__ void add_values(rows_state& st, const mma::tile (&p)[position_tiles], entry_tile& tile) {
  const int lane = threadIdx.x % 32, chunk = quarter() * value_tiles + lane / 16;
#pragma unroll
  for (int k = 0; k < position_tiles; k += 2) {
    const std::uint32_t a[4] = {pack(p[k][0], p[k][1]), pack(p[k][2], p[k][3]), pack(p[k + 1][0], p[k + 1][1]),
                                pack(p[k + 1][2], p[k + 1][3])};
#pragma unroll
    for (int t = 0; t < value_tiles; t += 2) {
      const uint4 b = ptx::load_matrices_transposed(tile.at(k * 8 + lane % 16, chunk + t));
      mma::multiply_16(st.o[t], a[0], a[1], a[2], a[3], b.x, b.y);
      mma::multiply_16(st.o[t + 1], a[0], a[1], a[2], a[3], b.z, b.w);
    }
  }
}

/// `row` is the tile's first row of `out` or of the partial results, `rows` how many there are.
__device__ void store(rows_state& st, const mla_decode_args& args, std::size_t row, int rows, bool alone) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    for (int lanes = 1; lanes <= 2; lanes *= 2) st.sum[r] += __shfl_xor_sync(~0u, st.sum[r], lanes);
    const int here = group() * group_rows + lane_row() + 8 * r;
    if (here >= rows) continue;
    const float inverse = st.sum[r] > 0 ? 1.0f / st.sum[r] : 0.0f;
    if (!alone && quarter() == 0 && threadIdx.x % 4 == 0)
      args.partial_lse[row + here] = st.sum[r] > 0 ? st.peak[r] + log2f(st.sum[r]) : -INFINITY;
    const std::size_t at = (row + here) * mla_latent + quarter() * value_tiles * 8 + lane_column();
#pragma unroll
    for (int t = 0; t < value_tiles; ++t) {
      const float low = st.o[t][2 * r] * inverse, high = st.o[t][2 * r + 1] * inverse;
      if (alone)
        *reinterpret_cast<std::uint32_t*>(args.out + at + t * 8) = pack(low, high);
      else
        *reinterpret_cast<float2*>(args.partial_out + at + t * 8) = make_float2(low, high);
    }
  }
}

template <cache_format Format>
__global__ void __launch_bounds__(groups_max* group_threads, 1) mla_decode_kernel(const mla_decode_args args) {
  extern __shared__ __align__(128) std::uint8_t raw[];
  auto& s = *reinterpret_cast<shared_layout*>(raw);
  const int rows = args.queries * args.heads, tile_rows = blockDim.x / group_threads * group_rows;
  const int first_row = blockIdx.x * tile_rows, request = blockIdx.y, split = blockIdx.z;
  const int length = args.lengths[request];
  const split_plan plan(args, length);
  if (split >= plan.count) return;
  constexpr int tiles_of_page = mla_page / tile_positions;
  const int tiles = (length + tile_positions - 1) / tile_positions,
            first = min(split * plan.pages_each * tiles_of_page, tiles),
            last = min(first + plan.pages_each * tiles_of_page, tiles);
  const int* table = args.tables + std::size_t(request) * args.table_pages;
  int visible[2];
  for (int r = 0; r < 2; ++r) { // rows past the last query see what the last one sees
    const int row = first_row + group() * group_rows + lane_row() + 8 * r;
    visible[r] = length - args.queries + 1 + min(row / args.heads, args.queries - 1);
  }
  const std::size_t row = std::size_t(request) * rows + first_row;
  rows_state st;
  load_query(st, args.q + row * mla_entry, rows - first_row);

  tile_loader<Format> loader;
  if (first < last) loader.start(s.tile[0], tile_entries<Format>(args, table, first));
  for (int tile = first; tile < last; ++tile) {
    auto& now = s.tile[(tile - first) % 2];
    loader.finish(now);
    __syncthreads(); // every thread's part of `now` is there, and nobody reads the other buffer any more
    if (tile + 1 < last) loader.start(s.tile[(tile - first + 1) % 2], tile_entries<Format>(args, table, tile + 1));
    score(st, now, s.scores[group()][quarter()]);
    __syncthreads();
    mma::tile p[position_tiles];
    gather_scores(s.scores[group()], args.scale * 1.44269504f, tile * tile_positions, visible, p);
    soften(st, p);
    add_values(st, p, now);
  }
  store(st, args, std::size_t(split) * args.requests * rows + row, rows - first_row, plan.count == 1);
}

} // namespace

cudaError_t sm80_mla_decode_parts(const mla_decode_args& args, cudaStream_t stream) {
  static_assert(score_steps * warps_of_rows * 16 == mla_entry && value_tiles * warps_of_rows * 8 == mla_latent);
  static_assert(shared_bytes(groups_max) <= 99 << 10, "what a CTA may have on sm_86 and sm_89");
  const int rows = args.queries * args.heads, groups = rows > group_rows ? groups_max : 1;
  const int tiles = (rows + groups * group_rows - 1) / (groups * group_rows);
  const auto kernel = args.format == cache_format::plain ? mla_decode_kernel<cache_format::plain>
                                                         : mla_decode_kernel<cache_format::fp8_ds_mla>;
  if (const auto e =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes(groups_max)))
    return e;
  kernel<<<dim3(tiles, args.requests, args.splits), groups * group_threads, shared_bytes(groups), stream>>>(args);
  return cudaGetLastError();
}

} // namespace troupe::cuda
