// cuda_experts for rows in the memory of another process: read once, worked on here, left for that process to read.
#include "kernels/cuda/route.hpp"
#include "kernels/cuda/rows.hpp"
#include "runtime/exec/cuda/cuda_experts.hpp"
#include "runtime/exec/device/mapped_layout.hpp"

#include <algorithm>

namespace troupe::exec {

/// The choices are copied with the rows and checked where they are used: a batch that was given up finds anything
/// there.
result<device_segment> cuda_experts::run_mapped(const mapped_batch& batch, std::uint64_t ticket) {
  const int top_k = config_.experts_per_token, hidden = config_.hidden_size;
  TROUPE_TRY(check_mapped_batch(batch, hidden, top_k, layer_slot_));
  device_.enter();
  auto* const from = askers_.find(batch.rows);
  if (!from) return error{errc::overloaded, "device segments of too many processes"};
  if (ticket < from->ticket) return error{errc::bad_input, "mapped batch: comes too late"};
  TROUPE_ASSIGN(const auto* const rows, from->rows.follow(batch.rows));
  const mapped_layout layout(static_cast<std::size_t>(batch.row_count), static_cast<std::size_t>(hidden),
                             static_cast<std::size_t>(top_k));
  TROUPE_TRY(from->outputs.reserve(layout.output_bytes));
  from->ticket = ticket;

  const auto launch = [&](cudaStream_t) { launch_mapped(batch, *from, rows); };
  if (batch.row_count > graph_rows_max)
    launch(stream_);
  else
    graphs_.run({.rows = batch.row_count, .experts = from, .layer = batch.layer}, stream_, launch);
  stream_.wait();
  return from->outputs.segment();
}

void cuda_experts::launch_mapped(const mapped_batch& batch, const asker& from, const std::byte* rows) {
  const int top_k = batch.experts_per_row, hidden = batch.hidden_size;
  const mapped_layout layout(static_cast<std::size_t>(batch.row_count), static_cast<std::size_t>(hidden),
                             static_cast<std::size_t>(top_k));
  auto* const copy = inputs_.reserve(layout.rows_bytes / 2);
  const auto* const chosen = reinterpret_cast<const int*>(reinterpret_cast<std::byte*>(copy) + layout.chosen_at);
  must(cuda::copy_pieces({{{rows, copy, static_cast<std::int64_t>(layout.rows_bytes)}}}, stream_));
  const auto& w = weights_of(batch.layer);
  const int rows_max = cuda_ffn::rows_max(w, batch.row_count);
  for (int first = 0; owned_count_ > 0 && first < batch.row_count; first += rows_max) {
    const auto at = static_cast<std::size_t>(first);
    run_owned(w, copy + at * hidden, chosen + at * top_k, std::min(rows_max, batch.row_count - first), rows_max,
              from.outputs.as<std::uint16_t>() + at * top_k * hidden);
  }
}

void cuda_experts::run_owned(const device_ffn& w, const std::uint16_t* rows, const int* chosen, int count, int rows_max,
                             std::uint16_t* outputs) {
  const int top_k = config_.experts_per_token, choices = count * top_k;
  const auto token_slots = static_cast<std::size_t>(owned_count_) * rows_max;
  const auto counts = static_cast<std::size_t>(owned_count_ + 3) / 4 * 4; // keeps token_of aligned
  auto* const slots = slots_.reserve(counts + token_slots + static_cast<std::size_t>(rows_max) * top_k);
  auto *const token_of = slots + counts, *const slot_of = token_of + token_slots;
  must(cuda::place_owned_rows(chosen, count, top_k, owned_.as<int>(), owned_count_, rows_max, slots, token_of, slot_of,
                              stream_));
  const int hint = std::min(count, 2 * choices / config_.expert_count + 8);
  const auto* const computed = ffn_.run_routed(w, {slots, token_of, rows_max, hint}, rows, stream_);
  must(cuda::scatter_chosen(computed, chosen, slot_of_.as<int>(), config_.expert_count, slot_of, choices,
                            config_.hidden_size, outputs, stream_));
}

} // namespace troupe::exec
