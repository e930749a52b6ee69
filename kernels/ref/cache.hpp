// Oracle of the 656-byte cache entry (kernels/cache_format.hpp), by search over all scales and codes.
#pragma once

#include <cstdint>
#include <vector>

namespace troupe::kernels::ref {

/// One position: `latent`, a multiple of 128 channels, and `rope`, in the bytes that a cache of fp8_ds_mla holds.
std::vector<std::uint8_t> cache_entry(const std::vector<float>& latent, const std::vector<float>& rope);

/// The channels that such bytes stand for, exactly: [latent | rope].
std::vector<double> cached_values(const std::vector<std::uint8_t>& entry, std::int64_t latent, std::int64_t rope);

} // namespace troupe::kernels::ref
