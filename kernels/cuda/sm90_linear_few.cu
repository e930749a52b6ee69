// Math      y[t,n] = sum_b scale[n/128,b] (sum_{k in block b} W[n,k] x[t,k]) (+ bias[n]), e4m3 W in blocks of 128;
//           y[t,n] = sum_k W[n,k] x[t,k] for bf16 W; fp32 sums
// Shapes    W [rows, cols], x [tokens, cols] bf16, y [tokens, rows] bf16 or f32; any rows; here up to 8 tokens of a
//           group, sm90_linear_many.cu has the rest
// Roofline  W is read once, e.g. 7168 x 16384 e4m3 = 117 MB: 26 us at 4.5 TB/s; widening e4m3 takes 5 instructions a
//           pair, 0.4 of the issue slots at that rate
// Mapping   one warp per 16 weight rows and K part, weights on the M side of mma.sync; the K blocks of a strip go round
//           robin to `parts` warps, whose sums are added in order through shared memory. Persistent CTAs, in which
//           every lane streams the bytes it will multiply through a ring of its own in shared memory, across strips and
//           ahead of the kernel before this one
// Invariant the order of additions depends on cols only: bits of a row are the same in any batch, tile or group
// Rejected  activations in e4m3 too (W8A8): no faster while memory bound, and it cost one of 50 greedy continuations of
//           the demo model (97.8 % of the CPU's tokens, which an emulation reproduced token by token); parts of
//           neighbouring blocks instead of round robin: 36-45 us for 7168 x 16384 e4m3 (33.7); tokens in the ring
//           beside their weights, which leaves room for the next kernel's first CTA: R1's slice 1.11-1.20 ms (1.08)
// Source    model-spec.md section 9
#include "kernels/cuda/common/launch.cuh"
#include "kernels/cuda/common/linear_strips.cuh"
#include "kernels/cuda/common/ptx.cuh"
#include "kernels/cuda/sm90_linear.hpp"

#include <algorithm>

namespace troupe::cuda {
namespace {

using namespace strips;

constexpr int stages = 4;
constexpr int ctas_per_sm = 2;
constexpr int few_tokens = 8;
constexpr int x_bytes_max = 40960; // of the tokens that a CTA keeps in shared memory
constexpr int x_padding = 8;       // channels between two tokens there: other banks

struct shared_layout {
  ring_slot ring[warps][stages];
  float sums[warps][4][32];
  uint4 x[1]; // all tokens, if they are few and short
};

/// Walks the units of a CTA: a unit is warps / parts strips of one group that has tokens.
struct unit_walk {
  int index = blockIdx.x, group = 0, first_row = 0;
  __device__ bool find(const plan& p) {
    const int unit_rows = warps / p.parts * strip_rows, units = (p.args.rows + unit_rows - 1) / unit_rows;
    for (; index < p.args.groups * units; index += gridDim.x) {
      group = index / units, first_row = index % units * unit_rows;
      if (tokens_of(p.args, group) > 0) return true;
    }
    return false;
  }
  /// First row of this warp's strip.
  __device__ int strip(const plan& p) const {
    return min(first_row + int(threadIdx.x) / 32 / p.parts * strip_rows, p.args.rows - 1);
  }
};

/// Where a warp's ring is being filled: it runs ahead of the products, into the next units.
template <bool Fp8>
struct weight_stream {
  const plan& p;
  ring_slot (&ring)[stages];
  unit_walk walk;
  weight_rows<Fp8> rows;
  int block, slot = 0;
  bool more;

  __device__ weight_stream(const plan& plan, ring_slot (&to)[stages]) : p(plan), ring(to) { aim(); }
  __device__ void aim() {
    block = threadIdx.x / 32 % p.parts;
    more = block < p.blocks && walk.find(p);
    if (more) rows.aim(p, walk.group, walk.strip(p));
  }
  __device__ void load_next() {
    if (more) {
      rows.copy(ring[slot], block);
      if ((block += p.parts) >= p.blocks) walk.index += gridDim.x, aim();
    }
    if (++slot == stages) slot = 0;
    commit_copies(); // also when there was nothing: groups are counted
  }
};

template <bool Fp8>
__device__ void multiply_strip(weight_stream<Fp8>& weights, int& slot, const plan& p, const uint4* x,
                               mma::tile (&total)[1]) {
  for (int b = threadIdx.x / 32 % p.parts; b < p.blocks; b += p.parts) {
    wait_for_copies<stages - 1>();
    const auto w = weights.rows.read(weights.ring[slot]);
    if (++slot == stages) slot = 0;
    multiply_block<Fp8, 1>(total, w, [&](int, int n) { return x[b * block_pieces<Fp8> + n]; });
    weights.load_next(); // into the slot just read
  }
}

/// Adds the parts of every strip of the unit, in order.
__device__ void add_parts(const shared_layout& s, const plan& p, const unit_walk& at) {
  const auto& args = p.args;
  const int strips = warps / p.parts, tokens = tokens_of(args, at.group);
  for (int i = threadIdx.x; i < strips * few_tokens * strip_rows; i += threads) {
    const int r = i % strip_rows, token = i / strip_rows % few_tokens, strip = i / (strip_rows * few_tokens);
    const int row = at.first_row + strip * strip_rows + r;
    if (row >= args.rows || token >= tokens) continue;
    const int element = r / 8 * 2 + token % 2, lane = r % 8 * 4 + token / 2;
    float sum = s.sums[strip * p.parts][element][lane];
    for (int part = 1; part < p.parts; ++part) sum += s.sums[strip * p.parts + part][element][lane];
    store(args, at.group * args.y_group + token * args.y_pitch + row, row, sum);
  }
}

template <bool Fp8>
__global__ void __launch_bounds__(threads, ctas_per_sm) linear_few_kernel(const plan p) {
  extern __shared__ __align__(16) std::uint8_t raw[];
  auto& s = *reinterpret_cast<shared_layout*>(raw);
  const auto& args = p.args;
  if (args.group_tokens) ptx::grid_dependency_wait(); // they say which weights will be needed
  weight_stream<Fp8> weights(p, s.ring[threadIdx.x / 32]);
  for (int i = 0; i < stages; ++i) weights.load_next();
  ptx::grid_dependency_wait();
  ptx::grid_launch_dependents();
  const auto* x = reinterpret_cast<const uint4*>(args.x);
  const int shared_pitch = (args.cols + x_padding) / 8;
  if (p.x_shared) {
    for (int t = 0; t < args.tokens; ++t)
      for (int i = threadIdx.x; i < args.cols / 8; i += threads)
        s.x[t * shared_pitch + i] = x[t * (args.x_pitch / 8) + i];
    __syncthreads();
  }
  int slot = 0;
  for (unit_walk at; at.find(p); at.index += gridDim.x) {
    const int lane = threadIdx.x % 32, token = min(lane / 4, tokens_of(args, at.group) - 1);
    mma::tile total[1] = {};
    if (p.x_shared)
      multiply_strip<Fp8>(weights, slot, p, s.x + token * shared_pitch, total);
    else
      multiply_strip<Fp8>(weights, slot, p, x + (at.group * args.x_group + token * args.x_pitch) / 8, total);
#pragma unroll
    for (int i = 0; i < 4; ++i) s.sums[threadIdx.x / 32][i][lane] = total[0][i];
    __syncthreads();
    add_parts(s, p, at);
    __syncthreads();
  }
}

/// As many parts as warps if every one gets the same number of blocks; a function of cols alone.
int parts_of(int blocks) {
  for (int parts = warps; parts > 1; parts /= 2)
    if (blocks % parts == 0) return parts;
  return blocks >= 2 * warps ? warps : 1;
}

template <bool Fp8>
cudaError_t linear_few(const plan& p, cudaStream_t stream) {
  int sms = 0;
  if (const auto e = multiprocessors(sms)) return e;
  const int unit_rows = warps / p.parts * strip_rows, units = (p.args.rows + unit_rows - 1) / unit_rows;
  const int grid = std::min(p.args.groups * units, sms * ctas_per_sm);
  const int x_bytes = p.x_shared ? p.args.tokens * (p.args.cols + x_padding) * 2 : 0;
  return launch_dependent(linear_few_kernel<Fp8>, {dim3(grid), threads, int(sizeof(shared_layout)) + x_bytes}, stream,
                          p);
}

} // namespace

cudaError_t sm90_linear(const linear_args& args, cudaStream_t stream) {
  const bool fp8 = args.scales != nullptr;
  plan p;
  p.args = args;
  p.blocks = args.cols * (fp8 ? 1 : 2) / block_bytes;
  p.parts = parts_of(p.blocks);
  p.x_shared = args.groups == 1 && args.tokens * (args.cols + x_padding) * 2 <= x_bytes_max;
  if (args.tokens > few_tokens) return linear_many(p, stream);
  return fp8 ? linear_few<true>(p, stream) : linear_few<false>(p, stream);
}

} // namespace troupe::cuda
