#include "runtime/net/credit.hpp"

#include "runtime/core/invariant.hpp"

namespace troupe::net {

void credit_window::take(std::uint64_t bytes) {
  invariant(fits(bytes), "a frame goes out only when there is room for it");
  ++out_.frames;
  out_.bytes += bytes;
}

bool credit_window::give_back(room back) {
  if (back.frames > out_.frames || back.bytes > out_.bytes) return false;
  out_.frames -= back.frames;
  out_.bytes -= back.bytes;
  return true;
}

bool returned_room::admit(std::uint64_t bytes) {
  ++held_.frames;
  held_.bytes += bytes;
  return held_.frames <= window_.frames && (held_.frames == 1 || held_.bytes <= window_.bytes);
}

void returned_room::give_back(std::uint64_t bytes) {
  const auto more = (std::uint64_t{1} << frames_shift) + bytes;
  const auto all = unpack(back_.fetch_add(more) + more);
  if ((reaches(all, 4) || wanted_.load()) && !told_.exchange(true)) send_soon_();
}

room returned_room::take() {
  if (!any()) return {};
  told_.store(false);
  wanted_.store(false);
  const auto back = unpack(back_.exchange(0));
  held_.frames -= back.frames;
  held_.bytes -= back.bytes;
  return back;
}

void returned_room::want() {
  wanted_.store(true);
  if (back_.load() != 0 && !told_.exchange(true)) send_soon_();
}

} // namespace troupe::net
