// Launches of whole steps, or of pieces, as CUDA graphs: one launch for the host, and kernels that start without
// waiting for it.
#pragma once

#include "runtime/exec/cuda/device.hpp"

#include <compare>
#include <cstdint>
#include <functional>
#include <map>

namespace troupe::exec {

/// Everything that the launches of a step depend on, besides the contents of memory.
struct step_shape {
  enum class pass { forward, draft };
  pass what = pass::forward;
  int rows = 0;
  int wanted = 0;
  int table_pages = 0;
  const void* experts = nullptr;
  int layer = -1; ///< of a step that is replayed in pieces: between two dispatches to experts elsewhere
  int part = 0;   ///< of the step's rows
  auto operator<=>(const step_shape&) const = default;
};

/// Steps with more rows are launched kernel by kernel: a launch costs them nothing.
inline constexpr int graph_rows_max = 128;
/// Graphs kept; the one that was used longest ago leaves first.
inline constexpr std::size_t graphs_max = 64; // times the pieces of a step

/// Rows of the graph that runs a step of `rows` <= graph_rows_max rows: the rest repeat the last one. Pure.
int graph_rows(int rows);

/// A shape is launched kernel by kernel when it is seen first, so that all its memory is there; captured when it is
/// seen again; and replayed from then on. Graphs hold addresses, so that all leave when scratch memory has grown.
class step_graphs {
 public:
  using launches = std::function<void(cudaStream_t)>; ///< the same for the same shape, on the given stream only

  explicit step_graphs(std::size_t pieces = 1) : most_(graphs_max * pieces) {}
  ~step_graphs() { clear(); }
  step_graphs(const step_graphs&) = delete;
  step_graphs& operator=(const step_graphs&) = delete;

  void run(const step_shape& shape, cudaStream_t stream, const launches& launch);

 private:
  struct entry {
    cudaGraphExec_t graph = nullptr;
    std::uint64_t used = 0;
  };

  void clear();
  void make_room();

  std::size_t most_;
  std::map<step_shape, entry> entries_;
  std::uint64_t runs_ = 0, growths_ = 0;
};

} // namespace troupe::exec
