// The part of http_session that answers completions: whole, or as server-sent events while the client still listens.
#include "actors/gateways/http_session.hpp"
#include "actors/gateways/openai/fields.hpp"
#include "runtime/core/limits.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/chunk_encode.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/json/serialize.hpp>

#include <chrono>
#include <utility>

namespace troupe {

namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t read_bytes = 4096;
constexpr std::chrono::hours for_ever{24 * 365};

std::string sse_event(const std::string& data) { return "data: " + data + "\n\n"; }

std::string sse_end(const answer_part& last) {
  const auto failure = last.failure ? sse_event(boost::json::serialize(openai::to_json(*last.failure))) : "";
  return failure + sse_event("[DONE]");
}

} // namespace

asio::awaitable<void> http_outbox::wait(std::chrono::milliseconds patience) {
  if (!chunks_.empty() || last_) co_return;
  changed_.expires_after(patience);
  co_await changed_.async_wait(no_throw);
}

asio::awaitable<bool> http_session::complete(openai::endpoint where, std::string_view body) {
  using namespace asio::experimental::awaitable_operators;
  const http_sessions::answering counted(house_.sessions);
  const auto out = std::make_shared<http_outbox>(stream_.get_executor());
  auto started = co_await on_worker([&]() -> openai::reply<std::shared_ptr<completion_task>> {
    if (house_.draining) return openai::to_api_error({errc::disconnected, "this server is draining"});
    TROUPE_ASSIGN(const auto object, openai::parse_object(body));
    return completion_task::start(house_.completions, where, object, {house_.io, stream_.get_executor()},
                                  [out](answer_part part) { out->push(std::move(part)); });
  });
  if (!started) {
    const auto& code = started.error().code;
    house_.completions.metrics().on_rejected(code.empty() ? "bad_input" : code);
    co_return co_await send(to_reply(started.error()));
  }
  const auto task = *std::move(started);                                // frees its requests when it goes
  auto answer = task->streams() ? send_stream(*out) : send_whole(*out); // g++ 12 destroys a temporary here twice
  const auto first = co_await (std::move(answer) || watch_client());
  co_return first.index() == 0 && std::get<0>(first);
}

asio::awaitable<bool> http_session::send_whole(http_outbox& out) {
  while (!out.last()) co_await out.wait(for_ever);
  const auto& last = *out.last();
  auto reply = last.failure ? to_reply(*last.failure) : http_reply{.body = last.body};
  co_return co_await send(std::move(reply));
}

/// Waits a while for the first event, so that a failure before it still has its status.
asio::awaitable<bool> http_session::send_stream(http_outbox& out) {
  for (bool begun = false;; begun = true) {
    co_await out.wait(limits::sse_keep_alive);
    if (!begun && out.last() && out.last()->failure) co_return co_await send(to_reply(*out.last()->failure));
    if (!begun && !co_await begin_stream()) co_return false;

    // From here to the write nothing suspends: chunks and end are of one moment, what comes later waits its turn.
    std::string text;
    for (const auto& chunk : out.take_chunks()) text += sse_event(chunk);
    const bool ends = out.last().has_value();
    if (ends) text += sse_end(*out.last());
    if (text.empty()) text = ": keep-alive\n\n";
    const bool sent = co_await send_events(std::move(text), ends);
    if (!sent || out.overfull()) co_return false;
    if (ends) co_return keep_alive_;
  }
}

asio::awaitable<bool> http_session::begin_stream() {
  http::response<http::empty_body> head(http::status::ok, version_);
  if (version_ < 11) keep_alive_ = false; // the end of the connection is the end of the answer
  set_common(head, "text/event-stream; charset=utf-8");
  head.set(http::field::cache_control, "no-cache");
  head.set("X-Accel-Buffering", "no"); // nginx would collect events
  head.chunked(version_ == 11);
  stream_.expires_after(limits::http_write_timeout);
  http::response_serializer<http::empty_body> serializer(head);
  const auto [failed, size] = co_await http::async_write_header(stream_, serializer, no_throw);
  co_return !failed;
}

asio::awaitable<bool> http_session::send_events(std::string text, bool last) {
  stream_.expires_after(limits::http_write_timeout);
  if (version_ < 11) {
    const auto [failed, size] = co_await asio::async_write(stream_, asio::buffer(text), no_throw);
    co_return !failed;
  }
  const auto [failed, size] = co_await asio::async_write(stream_, http::make_chunk(asio::buffer(text)), no_throw);
  if (failed || !last) co_return !failed;
  const auto [unfinished, tail] = co_await asio::async_write(stream_, http::make_chunk_last(), no_throw);
  co_return !unfinished;
}

/// Returns when the client is gone. What it sends meanwhile is its next request and waits in the buffer.
asio::awaitable<void> http_session::watch_client() {
  while (buffer_.size() + read_bytes <= buffer_.max_size()) {
    const auto [failed, size] = co_await stream_.socket().async_read_some(buffer_.prepare(read_bytes), no_throw);
    buffer_.commit(size);
    if (failed) break;
  }
}

} // namespace troupe
