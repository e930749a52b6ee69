// How a troupe::segment inside an actor message is written. While the bridge writes or reads a frame, only its index
// is: the bytes travel beside the message and are never copied. Anywhere else (a file, a hash) the bytes themselves.
#pragma once

#include "runtime/core/segment.hpp"

#include <caf/deserializer.hpp>
#include <caf/error.hpp>
#include <caf/serializer.hpp>

#include <span>
#include <string>
#include <vector>

namespace troupe {

namespace net {

/// The segments of the frame that this thread writes or reads now. Scopes nest; the inner one counts.
class segments_beside {
 public:
  explicit segments_beside(std::vector<segment>& out) : out_(&out), outer_(current()) { current() = this; }
  explicit segments_beside(std::span<segment> in) : in_(in), outer_(current()) { current() = this; }
  segments_beside(const segments_beside&) = delete;
  segments_beside& operator=(const segments_beside&) = delete;
  ~segments_beside() { current() = outer_; }

  /// Null outside of a frame.
  static segments_beside*& current();

  bool writing() const { return out_ != nullptr; }
  /// Writing: the index of `bytes`, or -1 when the frame is full (limits::frame_segments_max).
  int add(const segment& bytes);
  std::span<segment> received() const { return in_; }

 private:
  std::vector<segment>* out_ = nullptr;
  std::span<segment> in_;
  segments_beside* outer_;
};

} // namespace net

caf::error inspect(caf::serializer& f, segment& x);
caf::error inspect(caf::deserializer& f, segment& x);

/// For logs: the size only.
inline std::string to_string(const segment& x) { return "segment(" + std::to_string(x.size()) + " bytes)"; }

} // namespace troupe
