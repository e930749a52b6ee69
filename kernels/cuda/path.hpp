// Two families of kernels: one for Hopper, and plain ones for every GPU from sm_80 on. Plain C++ header.
#pragma once

namespace troupe::cuda {

enum class kernel_path {
  plain,  ///< mma.sync and cp.async; sm_80 code, and PTX for what is newer
  hopper, ///< sm_90a: wgmma and bulk copies
};

/// What device `index` runs. TROUPE_CUDA_PATH=plain (any other value: best), read once, keeps a Hopper GPU on the plain
/// path: that is how the tests reach it. The two give different bits, so the devices of one cluster should agree.
kernel_path path_of(int index);
/// path_of the calling thread's current device.
kernel_path current_path();

} // namespace troupe::cuda
