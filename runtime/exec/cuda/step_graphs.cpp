#include "runtime/exec/cuda/step_graphs.hpp"

#include <algorithm>

namespace troupe::exec {

int graph_rows(int rows) {
  for (const int bucket : {1, 2, 4})
    if (rows <= bucket) return bucket;
  return (rows + 7) / 8 * 8;
}

void step_graphs::run(const step_shape& shape, cudaStream_t stream, const launches& launch) {
  if (growths_ != scratch_growths) clear(), growths_ = scratch_growths;
  const bool seen = entries_.contains(shape);
  if (!seen) make_room();
  auto& here = entries_[shape];
  here.used = ++runs_;
  if (!seen) return launch(stream);
  if (!here.graph) {
    cudaGraph_t graph = nullptr;
    must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    launch(stream);
    must(cudaStreamEndCapture(stream, &graph));
    must(cudaGraphInstantiate(&here.graph, graph, 0));
    must(cudaGraphDestroy(graph));
    invariant(growths_ == scratch_growths, "a step that ran before needs no new memory");
  }
  must(cudaGraphLaunch(here.graph, stream));
}

void step_graphs::make_room() {
  if (entries_.size() < most_) return;
  const auto oldest = std::min_element(entries_.begin(), entries_.end(),
                                       [](const auto& a, const auto& b) { return a.second.used < b.second.used; });
  if (oldest->second.graph) cudaGraphExecDestroy(oldest->second.graph);
  entries_.erase(oldest);
}

void step_graphs::clear() {
  for (auto& [shape, e] : entries_)
    if (e.graph) cudaGraphExecDestroy(e.graph);
  entries_.clear();
}

} // namespace troupe::exec
