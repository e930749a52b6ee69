// One way to launch a kernel of a decode step: dependent on the one before (programmatic dependent launch, where the
// GPU has it), and with all of L1 given to shared memory, since a multiprocessor must run empty before it can divide
// its L1 differently.
//
// Every kernel waits for the one before it (grid_dependency_wait) before it lets the next one start
// (grid_launch_dependents). So whatever is older than the kernel before it is there when a kernel starts, and may be
// read before the wait: weights, and what the kernel before the kernel before it has written.
#pragma once

#include <cuda_runtime.h>

namespace troupe::cuda {

struct launch_shape {
  dim3 grid;
  int threads = 0;
  int shared_bytes = 0;      ///< dynamic
  unsigned cluster_ctas = 1; ///< neighbours along x
};

/// Of the current device.
inline cudaError_t device_attribute(cudaDeviceAttr attribute, int& value) {
  int device = 0;
  if (const auto e = cudaGetDevice(&device)) return e;
  return cudaDeviceGetAttribute(&value, attribute, device);
}

template <class Kernel, class... Args>
cudaError_t launch_dependent(Kernel kernel, const launch_shape& shape, cudaStream_t stream, const Args&... args) {
  if (const auto e =
          cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared))
    return e;
  if (const auto e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shape.shared_bytes))
    return e;
  int major = 0;
  if (const auto e = device_attribute(cudaDevAttrComputeCapabilityMajor, major)) return e;
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {shape.cluster_ctas, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = major < 9 ? 0 : shape.cluster_ctas > 1 ? 2 : 1;
  return cudaLaunchKernelEx(&config, kernel, args...);
}

/// Multiprocessors of the current device: what a persistent grid is sized to.
inline cudaError_t multiprocessors(int& count) { return device_attribute(cudaDevAttrMultiProcessorCount, count); }

} // namespace troupe::cuda
