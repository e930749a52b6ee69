#include "actors/gateways/http_gateway.hpp"

#include "actors/gateways/http_house.hpp"
#include "actors/gateways/http_session.hpp"
#include "runtime/core/limits.hpp"
#include "runtime/core/log.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <exception>
#include <thread>
#include <utility>

namespace troupe {

namespace asio = boost::asio;
using asio::ip::tcp;

struct http_gateway::state {
  state(http_gateway_options options, completion_service& completions)
      : house(std::move(options), completions), acceptor(asio::make_strand(*house.io)) {}

  result<void> listen();
  asio::awaitable<void> accept();
  void open(tcp::socket socket);
  void stop();

  http_house house;
  tcp::acceptor acceptor;
  std::uint16_t port = 0;
  std::vector<std::thread> threads;
};

result<void> http_gateway::state::listen() {
  const auto& options = house.options;
  const auto port_text = std::to_string(options.port);
  const auto bad = [&](const std::string& why) {
    return error{errc::bad_input, "cannot listen on " + options.host + ":" + port_text + ": " + why};
  };
  boost::system::error_code failed;
  const auto found = tcp::resolver(*house.io).resolve(options.host, port_text, tcp::resolver::passive, failed);
  if (failed || found.empty()) return bad(failed.message());
  const auto endpoint = found.begin()->endpoint();
  if (endpoint.address().is_unspecified() && !options.any_interface)
    return bad("that is every network of this machine; name one address, or say --i-know");
  acceptor.open(endpoint.protocol(), failed);
  if (!failed) acceptor.set_option(tcp::acceptor::reuse_address(true), failed);
  if (!failed) acceptor.bind(endpoint, failed);
  if (!failed) acceptor.listen(asio::socket_base::max_listen_connections, failed);
  if (failed) return bad(failed.message());
  port = acceptor.local_endpoint().port();

  asio::co_spawn(acceptor.get_executor(), accept(), asio::detached);
  for (int i = 0; i < options.threads; ++i) threads.emplace_back([this] { house.io->run(); });
  return {};
}

/// Errors are of one connection (it ended early) or pass (no file descriptors left): a moment later it goes on.
asio::awaitable<void> http_gateway::state::accept() {
  asio::steady_timer moment(acceptor.get_executor());
  while (acceptor.is_open()) {
    auto [failed, socket] =
        co_await acceptor.async_accept(asio::make_strand(*house.io), asio::as_tuple(asio::use_awaitable));
    if (!failed) {
      open(std::move(socket));
    } else if (acceptor.is_open()) {
      moment.expires_after(std::chrono::milliseconds(10));
      co_await moment.async_wait(asio::as_tuple(asio::use_awaitable));
    }
  }
}

void http_gateway::state::open(tcp::socket socket) {
  const auto strand = socket.get_executor();
  const auto session = std::make_shared<http_session>(house, std::move(socket));
  const bool room = house.sessions.size() < limits::http_connections_max;
  if (!house.sessions.add(session)) return;
  asio::co_spawn(strand, room ? session->run() : session->refuse(), [this, session](std::exception_ptr failed) {
    if (failed) log::debug("a connection ended early");
    house.sessions.remove(session);
  });
}

void http_gateway::state::stop() {
  if (threads.empty()) return;
  house.draining = true;
  asio::post(acceptor.get_executor(), [this] { acceptor.close(); });
  house.sessions.wait_for_answers(limits::http_linger);
  house.sessions.close_all();
  house.workers.join();
  house.io->stop();
  for (auto& thread : threads) thread.join();
  threads.clear();
}

result<std::unique_ptr<http_gateway>> http_gateway::open(http_gateway_options options,
                                                         completion_service& completions) {
  auto made = std::make_shared<state>(std::move(options), completions);
  TROUPE_TRY(made->listen());
  return std::unique_ptr<http_gateway>(new http_gateway(std::move(made)));
}

http_gateway::http_gateway(std::shared_ptr<state> s) : state_(std::move(s)) {}
http_gateway::~http_gateway() { stop(); }
std::uint16_t http_gateway::port() const { return state_->port; }
void http_gateway::drain() { state_->house.draining = true; }
void http_gateway::stop() { state_->stop(); }

bool http_sessions::add(std::shared_ptr<http_session> session) {
  const std::scoped_lock lock(mutex_);
  return !closed_ && open_.insert(std::move(session)).second;
}

void http_sessions::remove(const std::shared_ptr<http_session>& session) {
  const std::scoped_lock lock(mutex_);
  open_.erase(session);
  changed_.notify_all();
}

std::size_t http_sessions::size() const {
  const std::scoped_lock lock(mutex_);
  return open_.size();
}

int http_sessions::answers() const {
  const std::scoped_lock lock(mutex_);
  return answers_;
}

void http_sessions::count_answers(int more) {
  const std::scoped_lock lock(mutex_);
  answers_ += more;
  changed_.notify_all();
}

void http_sessions::wait_for_answers(std::chrono::milliseconds patience) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, patience, [&] { return answers_ == 0; });
}

void http_sessions::close_all() {
  std::unique_lock lock(mutex_);
  closed_ = true;
  for (const auto& session : open_) session->close();
  changed_.wait(lock, [&] { return open_.empty(); });
}

} // namespace troupe
