// Between a completion_task and the coroutine that writes its answer; both run on the connection's strand.
#pragma once

#include "actors/gateways/completion_task.hpp"
#include "runtime/core/limits.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace troupe {

class http_outbox {
 public:
  explicit http_outbox(boost::asio::any_io_executor strand) : changed_(std::move(strand)) {}

  void push(answer_part part) {
    for (auto& chunk : part.chunks) {
      if (overfull()) break; // the answer is lost already
      unsent_bytes_ += chunk.size();
      chunks_.push_back(std::move(chunk));
    }
    if (part.last) last_ = std::move(part);
    changed_.cancel();
  }

  /// Waits for something new, or for `patience`.
  boost::asio::awaitable<void> wait(std::chrono::milliseconds patience);

  std::vector<std::string> take_chunks() {
    unsent_bytes_ = 0;
    return std::exchange(chunks_, {});
  }
  /// The end, once it is there; its chunks are with the others.
  const std::optional<answer_part>& last() const { return last_; }
  /// The client reads too slowly: more is waiting than one answer may take.
  bool overfull() const { return unsent_bytes_ > limits::http_unsent_bytes_max; }

 private:
  boost::asio::steady_timer changed_;
  std::vector<std::string> chunks_;
  std::size_t unsent_bytes_ = 0;
  std::optional<answer_part> last_;
};

} // namespace troupe
