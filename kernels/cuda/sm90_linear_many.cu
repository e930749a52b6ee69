// Math      as sm90_linear_few.cu
// Shapes    any rows and tokens; worth it for more than 8 tokens of a group
// Roofline  W once, and x once for every 128 weight rows, from L2: for 64 tokens as many bytes again as e4m3 W.
//           mma.sync multiplies a block of 128 rows x 128 channels x 64 tokens in about 1000 cycles of a
//           multiprocessor, which reads the next one in 830: bound by both
// Mapping   a cluster has one CTA for every part of K; a CTA multiplies 128 weight rows, a strip a warp, by 8 * Tiles
//           tokens. Blocks of W and x go through one ring in shared memory. The CTAs of a cluster add their parts in
//           order through distributed shared memory, each a share of the rows
// Invariant as sm90_linear_few.cu, bit for bit
// Rejected  every warp reads its tokens from L2 or L1: 192 us for 64 tokens of 7168 x 16384 e4m3
#include "kernels/cuda/common/cluster.cuh"
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/linear_strips.cuh"

namespace troupe::cuda {
namespace {

using namespace strips;

constexpr int tile_rows = warps * strip_rows;
constexpr int stages = 3;

template <bool Fp8, int Tiles>
struct shared_layout {
  struct stage {
    ring_slot weights[warps];
    uint4 x[8 * Tiles][block_pieces<Fp8>];
  };
  union {
    stage ring[stages];
    float parts[8 * Tiles][tile_rows + 4]; // of this CTA's part of K, once the ring is empty
  };
};

/// Neighbouring tokens keep their pieces at different places, so that the eight lanes that read at once meet all banks.
template <bool Fp8>
__device__ int place_of(int token, int piece) {
  return piece ^ (token % 2 * (Fp8 ? 1 : 4));
}

/// The tile of one CTA.
struct tile {
  int group, first_row, first_token, tokens, part;
};

template <bool Fp8, int Tiles>
__device__ void copy_tokens(const linear_args& args, const tile& t, uint4 (&to)[8 * Tiles][block_pieces<Fp8>], int b) {
  constexpr int pieces = block_pieces<Fp8>;
  const auto* x = reinterpret_cast<const uint4*>(args.x) + t.group * args.x_group / 8 + b * pieces;
#pragma unroll
  for (int i = threadIdx.x; i < 8 * Tiles * pieces; i += threads) {
    const int token = i / pieces, piece = i % pieces;
    copy_async(&to[token][place_of<Fp8>(token, piece)],
               x + min(t.first_token + token, t.tokens - 1) * (args.x_pitch / 8) + piece);
  }
}

template <bool Fp8, int Tiles>
__device__ void multiply_tile(shared_layout<Fp8, Tiles>& s, const plan& p, const tile& t, mma::tile (&total)[Tiles]) {
  const int warp = threadIdx.x / 32, row = min(t.first_row + warp * strip_rows, p.args.rows - 1);
  weight_rows<Fp8> weights;
  weights.aim(p, t.group, row);
  int ahead = t.part;
#pragma unroll
  for (int i = 0; i < stages - 1; ++i)
    if (t.part + i * p.parts < p.blocks) weights.copy(s.ring[i].weights[warp], t.part + i * p.parts);
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
#pragma unroll
  for (int i = 0; i < stages - 1; ++i, ahead += p.parts) {
    if (ahead < p.blocks) copy_tokens<Fp8, Tiles>(p.args, t, s.ring[i].x, ahead);
    commit_copies();
  }
  int slot = 0, next = stages - 1;
  for (int b = t.part; b < p.blocks; b += p.parts, ahead += p.parts) {
    wait_for_copies<stages - 2>();
    __syncthreads(); // everybody's tokens are here, and the slot before this one is free
    if (ahead < p.blocks) {
      weights.copy(s.ring[next].weights[warp], ahead);
      copy_tokens<Fp8, Tiles>(p.args, t, s.ring[next].x, ahead);
    }
    commit_copies();
    if (++next == stages) next = 0;
    const auto& from = s.ring[slot];
    if (++slot == stages) slot = 0;
    const int lane_token = threadIdx.x % 32 / 4;
    multiply_block<Fp8, Tiles>(total, weights.read(from.weights[warp]),
                               [&](int i, int n) { return from.x[8 * i + lane_token][place_of<Fp8>(lane_token, n)]; });
  }
}

/// Every CTA of the cluster adds and stores its share of the 128 rows, four a thread.
template <bool Fp8, int Tiles>
__device__ void add_parts(const shared_layout<Fp8, Tiles>& s, const plan& p, const tile& t) {
  const auto& args = p.args;
  const int quads = tile_rows / p.parts / 4, tokens = min(8 * Tiles, t.tokens - t.first_token);
  for (int i = threadIdx.x; i < quads * tokens; i += threads) {
    const int r = (t.part * quads + i % quads) * 4, token = i / quads;
    float4 sum = ptx::load_from(reinterpret_cast<const float4*>(&s.parts[token][r]), 0);
    for (int part = 1; part < p.parts; ++part) {
      const float4 other = ptx::load_from(reinterpret_cast<const float4*>(&s.parts[token][r]), part);
      sum.x += other.x, sum.y += other.y, sum.z += other.z, sum.w += other.w;
    }
    const float values[4] = {sum.x, sum.y, sum.z, sum.w};
    const std::int64_t at = t.group * args.y_group + (t.first_token + token) * args.y_pitch;
    for (int j = 0; j < 4; ++j)
      if (const int row = t.first_row + r + j; row < args.rows) store(args, at + row, row, values[j]);
  }
}

template <bool Fp8, int Tiles>
__global__ void __launch_bounds__(threads, 2) linear_many_kernel(const plan p) {
  extern __shared__ __align__(16) std::uint8_t raw[];
  auto& s = *reinterpret_cast<shared_layout<Fp8, Tiles>*>(raw);
  const int row_tiles = (p.args.rows + tile_rows - 1) / tile_rows;
  tile t;
  t.part = blockIdx.x, t.first_token = blockIdx.y * 8 * Tiles;
  t.group = blockIdx.z / row_tiles, t.first_row = blockIdx.z % row_tiles * tile_rows;
  if (p.args.group_tokens) ptx::grid_dependency_wait();
  t.tokens = tokens_of(p.args, t.group);
  if (t.first_token >= t.tokens) return; // the whole cluster
  mma::tile total[Tiles] = {};
  multiply_tile<Fp8, Tiles>(s, p, t, total);

  wait_for_copies<0>();
  __syncthreads(); // the ring is read for the last time
  const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * strip_rows + lane / 4;
#pragma unroll
  for (int i = 0; i < Tiles * 4; ++i)
    s.parts[i / 4 * 8 + lane % 4 * 2 + i % 2][row + i / 2 % 2 * 8] = total[i / 4][i % 4];
  ptx::cluster_sync();
  add_parts<Fp8, Tiles>(s, p, t);
  ptx::cluster_sync(); // nobody leaves while others read its parts
}

template <bool Fp8, int Tiles>
cudaError_t launch(const plan& p, cudaStream_t stream) {
  const auto& args = p.args;
  const dim3 grid(p.parts, (args.tokens + 8 * Tiles - 1) / (8 * Tiles),
                  (args.rows + tile_rows - 1) / tile_rows * args.groups);
  constexpr int shared_bytes = sizeof(shared_layout<Fp8, Tiles>);
  static_assert(2 * (shared_bytes + 1024) <= 233472, "two CTAs' shared memory on sm_90");
  return launch_dependent(linear_many_kernel<Fp8, Tiles>, {grid, threads, shared_bytes, unsigned(p.parts)}, stream, p);
}

template <bool Fp8>
cudaError_t launch_for(const plan& p, cudaStream_t stream) {
  if (p.args.tokens <= 16) return launch<Fp8, 2>(p, stream);
  if (p.args.tokens <= 32) return launch<Fp8, 4>(p, stream);
  return launch<Fp8, 8>(p, stream);
}

} // namespace

cudaError_t linear_many(const plan& p, cudaStream_t stream) {
  return p.args.scales ? launch_for<true>(p, stream) : launch_for<false>(p, stream);
}

} // namespace troupe::cuda
