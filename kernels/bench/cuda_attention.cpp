// MLA attention: decode over a paged latent cache, and causal prefill.
#include "kernels/bench/cuda_rig.hpp"
#include "kernels/cuda/mla_decode.hpp"
#include "kernels/cuda/mla_prefill.hpp"

#include <algorithm>
#include <numeric>
#include <random>

namespace troupe::bench {
namespace {

using namespace cuda;

/// Entries of fp8_ds_mla with codes, scales and keys of ordinary sizes.
std::uint8_t* random_codes(arena& a, std::size_t positions) {
  constexpr std::size_t bytes = mla_entry_bytes(cache_format::fp8_ds_mla), scales = mla_latent / 128 * 4,
                        rope = 2 * (mla_entry - mla_latent);
  auto* entries = a.e4m3(positions * bytes, 2);
  const auto put = [&](std::size_t at, const void* from, std::size_t width) {
    check(cudaMemcpy2D(entries + at, bytes, from, width, width, positions, cudaMemcpyDeviceToDevice), "fill");
  };
  put(mla_latent, a.floats(positions * scales / 4, 0.0005f, 0.003f, 3), scales);
  put(mla_latent + scales, a.bf16(positions * rope / 2, 4), rope);
  return entries;
}

line bench_decode(timer& t, int requests, int length, int heads, double target,
                  cache_format format = cache_format::plain) {
  const int table_pages = (length + mla_page - 1) / mla_page, pages = requests * table_pages;
  const std::size_t rows = std::size_t(requests) * heads;
  std::mt19937 random(1);
  std::vector<int> tables(pages);
  std::iota(tables.begin(), tables.end(), 0);
  std::shuffle(tables.begin(), tables.end(), random);
  arena a;
  mla_decode_args d;
  const bool plain = format == cache_format::plain;
  const auto positions = std::size_t(pages) * mla_page;
  d.q = a.bf16(rows * mla_entry, 1), d.format = format;
  if (plain)
    d.cache = a.bf16(positions * mla_entry, 2);
  else
    d.cache = random_codes(a, positions);
  d.out = a.get<std::uint16_t>(rows * mla_latent), d.tables = a.copy(tables);
  d.lengths = a.copy(std::vector<int>(requests, length)), d.scale = 0.135f;
  d.requests = requests, d.heads = heads, d.pages = pages, d.table_pages = table_pages;
  d.splits = mla_decode_splits(requests, heads, table_pages, 132);
  d.partial_out = a.get<float>(d.splits * rows * mla_latent), d.partial_lse = a.get<float>(d.splits * rows);
  line l{std::string(plain ? "" : "FP8 cache, ") + "MLA decode " + std::to_string(requests) + " x " +
         std::to_string(length) + " x " + std::to_string(heads)};
  l.us = t.median_us([&](cudaStream_t s) { check(mla_decode(d, s), "mla_decode"); });
  l.bytes = double(mla_entry_bytes(format)) * requests * length + 2.0 * rows * (mla_entry + mla_latent);
  l.flop = 2.0 * rows * length * (mla_entry + mla_latent), l.target = target;
  return l;
}

line bench_prefill(timer& t, int rows, int heads, double target) {
  arena a;
  mla_prefill_args p;
  const std::size_t n = std::size_t(rows) * heads;
  p.q = a.bf16(n * 192, 1), p.kv = a.bf16(n * 256, 2), p.rope = a.bf16(std::size_t(rows) * 64, 3);
  p.out = a.get<std::uint16_t>(n * 128), p.scale = 0.135f, p.rows = p.positions = rows, p.heads = heads;
  line l{"MLA prefill " + std::to_string(rows) + " causal x " + std::to_string(heads)};
  l.us = t.median_us([&](cudaStream_t s) { check(mla_prefill(p, s), "mla_prefill"); });
  l.bytes = 2.0 * n * (192 + 256 + 128), l.flop = double(heads) * rows * (rows + 1.0) * (192 + 128);
  l.target = target, l.rate = true;
  return l;
}

} // namespace

std::vector<line> bench_attention(timer& t) {
  std::vector<line> lines;
  for (const auto format : {cache_format::plain, cache_format::fp8_ds_mla}) {
    lines.push_back(bench_decode(t, 128, 4096, 128, 245, format));
    lines.push_back(bench_decode(t, 128, 8192, 16, 414, format));
    lines.push_back(bench_decode(t, 1, 4096, 128, 12, format));
    lines.push_back(bench_decode(t, 1, 65536, 128, 58, format));
  }
  lines.push_back(bench_prefill(t, 8192, 128, 550));
  return lines;
}

} // namespace troupe::bench
