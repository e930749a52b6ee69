// What all connections of one HTTP gateway share.
#pragma once

#include "actors/gateways/api_keys.hpp"
#include "actors/gateways/completion_service.hpp"
#include "actors/gateways/http_gateway.hpp"
#include "actors/gateways/http_handlers.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <unordered_set>

namespace troupe {

class http_session;

/// The open connections, for an orderly end. Thread-safe.
class http_sessions {
 public:
  /// False after close_all(): do not start it.
  bool add(std::shared_ptr<http_session> session);
  void remove(const std::shared_ptr<http_session>& session);
  std::size_t size() const;
  /// Completions under way.
  int answers() const;

  /// One answer under way, for as long as it lives.
  class answering {
   public:
    explicit answering(http_sessions& sessions) : sessions_(sessions) { sessions_.count_answers(1); }
    ~answering() { sessions_.count_answers(-1); }
    answering(const answering&) = delete;
    answering& operator=(const answering&) = delete;

   private:
    http_sessions& sessions_;
  };

  /// Waits until no answer is under way, or for `patience`.
  void wait_for_answers(std::chrono::milliseconds patience);
  /// Closes all and waits until they are gone.
  void close_all();

 private:
  void count_answers(int more);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_set<std::shared_ptr<http_session>> open_;
  int answers_ = 0;
  bool closed_ = false;
};

struct http_house {
  http_house(http_gateway_options o, completion_service& c)
      : options(std::move(o)), completions(c), keys(options.api_keys),
        workers(static_cast<std::size_t>(options.threads)) {}

  handler_context context() { return {completions, options, started_at, draining.load(), sessions.answers()}; }

  const http_gateway_options options;
  completion_service& completions;
  const api_keys keys;
  const std::int64_t started_at = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::atomic<bool> draining{false};
  std::atomic<std::uint64_t> requests{0};
  http_sessions sessions;
  const std::shared_ptr<boost::asio::io_context> io = std::make_shared<boost::asio::io_context>(); ///< of the sockets
  boost::asio::thread_pool workers; ///< parse, tokenize and wait for the router: never on a socket's thread
};

} // namespace troupe
