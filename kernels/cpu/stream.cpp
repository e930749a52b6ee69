// Every thread sums its own part with eight independent 64-byte streams of SSE loads: nothing but reading.
#include "kernels/cpu/stream.hpp"

#include "kernels/cpu/memory.hpp"

#include <algorithm>
#include <chrono>
#include <emmintrin.h>

namespace troupe::kernels {
namespace {

constexpr std::int64_t piece_bytes = std::int64_t{1} << 20;

/// Exclusive-or of a piece; the result is stored so that the loads are not optimised away.
void read_piece(const __m128i* p, std::int64_t bytes, __m128i* out) {
  __m128i a = _mm_setzero_si128(), b = a, c = a, d = a;
  for (std::int64_t i = 0; i < bytes / 64; ++i, p += 4) {
    a = _mm_xor_si128(a, p[0]);
    b = _mm_xor_si128(b, p[1]);
    c = _mm_xor_si128(c, p[2]);
    d = _mm_xor_si128(d, p[3]);
  }
  *out = _mm_xor_si128(_mm_xor_si128(a, b), _mm_xor_si128(c, d));
}

} // namespace

double stream_read_gbs(thread_pool& pool, std::int64_t bytes, int passes) {
  const auto pieces = std::max<std::int64_t>(1, bytes / piece_bytes);
  const buffer memory(static_cast<std::size_t>(pieces * piece_bytes));
  const buffer sums(static_cast<std::size_t>(pieces) * sizeof(__m128i));
  double best = 0;
  for (int pass = 0; pass < passes; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    pool.parallel_for(pieces, [&](std::int64_t i) {
      read_piece(memory.as<__m128i>() + i * piece_bytes / 16, piece_bytes, sums.as<__m128i>() + i);
    });
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(pieces * piece_bytes) / took.count() / 1e9);
  }
  return best;
}

} // namespace troupe::kernels
