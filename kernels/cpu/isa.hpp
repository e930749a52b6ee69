// Instruction sets and number formats a CPU kernel may be compiled for, chosen at run time.
// One process computes with one target: bits may differ between instruction sets, never within one.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace troupe::kernels {

/// Ascending in speed; each includes what the ones before it need.
enum class isa : std::uint8_t {
  avx2,        ///< AVX2 + FMA
  avx512_bf16, ///< AVX-512 F/BW/VL/DQ/VBMI/BF16
  amx_bf16,    ///< the above + AMX-TILE/BF16, permitted by the operating system
};

enum class compute_type : std::uint8_t {
  float32,  ///< weights exact in fp32, inputs fp32
  bfloat16, ///< inputs of every product rounded to bf16, sums in fp32
};

/// What weights are packed for and kernels are chosen by.
struct target {
  isa set;
  compute_type compute;
  bool operator==(const target&) const = default;
};

/// Whether this machine runs `set`. The first question about AMX asks Linux for the tile registers (process-wide).
bool supported(isa set);
/// Every supported set, slowest first; empty on a machine without AVX2.
std::vector<isa> supported_isas();
/// The fastest supported set.
std::optional<isa> best_isa();

/// "avx2", "avx512_bf16", "amx_bf16".
std::string_view name_of(isa set);
std::optional<isa> isa_from_name(std::string_view name);

} // namespace troupe::kernels
