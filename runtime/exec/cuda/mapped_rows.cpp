#include "runtime/exec/cuda/mapped_rows.hpp"

#include "kernels/cuda/rows.hpp"
#include "runtime/exec/device/mapped_layout.hpp"

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace troupe::exec {
namespace {

/// TROUPE_DEVICE_SEGMENTS=off: rows always travel through the host.
bool is_allowed() {
  const char* const text = std::getenv("TROUPE_DEVICE_SEGMENTS");
  return !text || std::string_view(text) != "off";
}

mapped_layout layout_of(int rows, int hidden, int choices) {
  return {static_cast<std::size_t>(rows), static_cast<std::size_t>(hidden), static_cast<std::size_t>(choices)};
}

} // namespace

mapped_rows::mapped_rows(const model::model_config& config)
    : hidden_(config.hidden_size), choices_(config.experts_per_token), experts_(config.expert_count),
      has_own_(config.shared_expert_count > 0), allowed_(is_allowed()) {}

bool mapped_rows::possible(int rows, const expert_client& experts) {
  if (!allowed_ || !experts.can_map()) return false;
  const auto layout = layout_of(rows, hidden_, choices_);
  if (!layout.fits() || !rows_.reserve(layout.rows_bytes)) return false;
  device_outputs_of_.reserve(static_cast<std::size_t>(experts_));
  return true;
}

int* mapped_rows::chosen(int rows) const {
  return reinterpret_cast<int*>(rows_.as<std::byte>() + layout_of(rows, hidden_, choices_).chosen_at);
}

void mapped_rows::keep(const device_rows& rows, cudaStream_t stream) {
  const auto choices = static_cast<std::size_t>(rows.rows) * choices_;
  const auto size = static_cast<std::size_t>(rows.rows) * hidden_;
  const auto bytes = [](std::size_t count) { return static_cast<std::int64_t>(count); };
  cuda::copied_pieces pieces{{{rows.normed, rows_.as<void>(), bytes(size * 2)},
                              {rows.chosen, chosen(rows.rows), bytes(choices * sizeof(int))},
                              {rows.weights, weights_.reserve(choices), bytes(choices * sizeof(float))}}};
  invariant(has_own_ == (rows.own != nullptr), "own outputs are there when the model has shared experts");
  if (has_own_) pieces.piece[3] = {rows.own, own_.reserve(size), bytes(size * 2)};
  if (rows.own_ready) must(cudaStreamWaitEvent(stream, rows.own_ready));
  must(cuda::copy_pieces(pieces, stream));
}

result<void> mapped_rows::name(layer_index layer, int rows, expert_client& experts, cudaStream_t stream) {
  must(cudaStreamSynchronize(stream));
  TROUPE_TRY(experts.start_mapped({layer, hidden_, rows, choices_, rows_.segment()}));
  named_ = rows;
  return {};
}

result<bool> mapped_rows::wait(expert_client& experts, cudaStream_t stream) {
  if (named_ == 0) return false;
  TROUPE_ASSIGN(const auto outputs, experts.finish_mapped());
  invariant(outputs.segment_of.size() == static_cast<std::size_t>(experts_), "every expert has outputs");
  std::vector<const std::uint16_t*> begins, outputs_of;
  for (const auto& s : outputs.segments) {
    const auto begin = find_segment(s);
    if (!begin) {
      experts.stop_mapping(begins.size(), begin.error().message);
      return error{errc::disconnected, begin.error().message}; // the step is done again
    }
    begins.push_back(*begin);
  }
  for (const auto i : outputs.segment_of) outputs_of.push_back(begins.at(i));
  tell_device(std::move(outputs_of), stream);
  named_ = 0;
  return true;
}

void mapped_rows::add(float* x, int rows, cudaStream_t stream) const {
  cuda::add_chosen_args args;
  args.x = x, args.own = has_own_ ? own_.get() : nullptr, args.outputs_of = device_outputs_of_.get();
  args.chosen = chosen(rows), args.weights = weights_.get();
  args.tokens = rows, args.hidden = hidden_, args.experts_per_token = choices_;
  must(cuda::add_chosen_rows(args, stream));
}

result<const std::uint16_t*> mapped_rows::find_segment(const device_segment& s) {
  auto* const known = shards_.find(s);
  if (!known) return error{errc::overloaded, "device segments of too many processes"};
  TROUPE_ASSIGN(const auto* const begin, known->follow(s));
  if (s.size < layout_of(named_, hidden_, choices_).output_bytes)
    return error{errc::bad_input, "outputs end beyond their segment"};
  return reinterpret_cast<const std::uint16_t*>(begin);
}

/// Only when it has changed: with the first batch, and when a shard has been replaced or its outputs have moved.
void mapped_rows::tell_device(std::vector<const std::uint16_t*> outputs_of, cudaStream_t stream) {
  if (outputs_of == outputs_of_) return;
  must(cudaStreamSynchronize(stream)); // host_outputs_of_ may still be read
  auto* const host = host_outputs_of_.reserve(outputs_of.size());
  std::ranges::copy(outputs_of, host);
  must(cudaMemcpyAsync(device_outputs_of_.get(), host, outputs_of.size() * sizeof *host, cudaMemcpyHostToDevice,
                       stream));
  outputs_of_ = std::move(outputs_of);
}

} // namespace troupe::exec
