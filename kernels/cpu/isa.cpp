// CPUID through the compiler's builtins, and Linux's permission for the 8 KB of AMX tile registers.
#include "kernels/cpu/isa.hpp"

#include <array>
#include <sys/syscall.h>
#include <unistd.h>

namespace troupe::kernels {
namespace {

struct named_isa {
  isa set;
  std::string_view name;
};
constexpr std::array<named_isa, 3> names{
    {{isa::avx2, "avx2"}, {isa::avx512_bf16, "avx512_bf16"}, {isa::amx_bf16, "amx_bf16"}}};

bool request_tiles() {
  constexpr long arch_req_xcomp_perm = 0x1023;
  constexpr long xfeature_xtiledata = 18;
  return syscall(SYS_arch_prctl, arch_req_xcomp_perm, xfeature_xtiledata) == 0;
}

bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool has_avx512_bf16() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bf16");
}

// g++ 12's __builtin_cpu_supports does not know AMX: CPUID leaf 7, EDX bits 22 (bf16) and 24 (tile).
bool cpuid_has_amx_bf16() {
  unsigned a = 7, b = 0, c = 0, d = 0;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return (d >> 22 & 1u) && (d >> 24 & 1u);
}

bool has_amx_bf16() { return has_avx512_bf16() && cpuid_has_amx_bf16() && request_tiles(); }

} // namespace

bool supported(isa set) {
  static const bool avx2 = has_avx2();
  static const bool avx512 = has_avx512_bf16();
  switch (set) {
  case isa::avx2: return avx2;
  case isa::avx512_bf16: return avx512;
  case isa::amx_bf16: {
    static const bool amx = has_amx_bf16();
    return amx;
  }
  }
  return false;
}

std::vector<isa> supported_isas() {
  std::vector<isa> sets;
  for (const auto& [set, name] : names)
    if (supported(set)) sets.push_back(set);
  return sets;
}

std::optional<isa> best_isa() {
  const auto sets = supported_isas();
  if (sets.empty()) return std::nullopt;
  return sets.back();
}

std::string_view name_of(isa set) { return names[static_cast<std::size_t>(set)].name; }

std::optional<isa> isa_from_name(std::string_view name) {
  for (const auto& entry : names)
    if (entry.name == name) return entry.set;
  return std::nullopt;
}

} // namespace troupe::kernels
