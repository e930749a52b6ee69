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

/// What a receipt points to.
struct returned_room::taken_room {
  taken_room(std::shared_ptr<returned_room> whose, std::uint64_t size) : owner(std::move(whose)), bytes(size) {}
  taken_room(const taken_room&) = delete;
  taken_room& operator=(const taken_room&) = delete;
  ~taken_room() { owner->give_back(bytes); }

  std::shared_ptr<returned_room> owner;
  std::uint64_t bytes;
};

std::shared_ptr<void> returned_room::admit(std::uint64_t bytes) {
  const auto frames = frames_held_.fetch_add(1) + 1;
  const auto held = bytes_held_.fetch_add(bytes) + bytes;
  if (frames > window_.frames || (frames > 1 && held > window_.bytes)) return nullptr;
  return std::make_shared<taken_room>(shared_from_this(), bytes);
}

void returned_room::give_back(std::uint64_t bytes) {
  const auto all_bytes = bytes_.fetch_add(bytes) + bytes;
  const auto frames = frames_.fetch_add(1) + 1;
  const bool much = frames >= window_.frames / 4 || all_bytes >= window_.bytes / 4;
  if ((much || wanted_.load()) && !told_.exchange(true)) send_soon_();
}

room returned_room::take() {
  if (!any()) return {};
  told_.store(false);
  wanted_.store(false);
  const room back{frames_.exchange(0), bytes_.exchange(0)};
  frames_held_.fetch_sub(back.frames);
  bytes_held_.fetch_sub(back.bytes);
  return back;
}

void returned_room::want() {
  wanted_.store(true);
  if (frames_.load() > 0 && !told_.exchange(true)) send_soon_();
}

} // namespace troupe::net
