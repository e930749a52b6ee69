#include "runtime/net/bench/raw_ucx.hpp"

#include "runtime/core/invariant.hpp"

#include <algorithm>
#include <cstring>

namespace troupe::net::bench {

namespace {

// What an acknowledgement says; a send may read it after the call.
constexpr std::uint32_t small_quarter = small_window / 4;
constexpr std::uint32_t large_quarter = large_window / 4;

/// A large message on its way into `room`.
struct large_receive {
  raw_ucx* owner;
  segment room;
};

result<void> checked(ucs_status_t status, const char* what) {
  if (status == UCS_OK) return {};
  return error{errc::unsupported, std::string("raw UCX: ") + what + ": " + ucs_status_string(status)};
}

void free_request(void* request, ucs_status_t, void*) { ucp_request_free(request); }

} // namespace

result<std::unique_ptr<raw_ucx>> raw_ucx::open(const std::string& tls, bool watched) {
  std::unique_ptr<raw_ucx> out(new raw_ucx);
  out->watched_ = watched;
  TROUPE_TRY(out->init(tls));
  return out;
}

result<void> raw_ucx::init(const std::string& tls) {
  ucp_config_t* config = nullptr;
  TROUPE_TRY(checked(ucp_config_read(nullptr, nullptr, &config), "configuration"));
  ucp_config_modify(config, "TLS", tls.c_str());
  if (tls == "tcp") ucp_config_modify(config, "NET_DEVICES", "lo"); // where our transport is, too
  ucp_params_t wanted{};
  wanted.field_mask = UCP_PARAM_FIELD_FEATURES;
  wanted.features = UCP_FEATURE_AM;
  const auto made = ucp_init(&wanted, config, &context_);
  ucp_config_release(config);
  TROUPE_TRY(checked(made, "context"));

  ucp_worker_params_t threads{};
  threads.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  threads.thread_mode = UCS_THREAD_MODE_SINGLE;
  TROUPE_TRY(checked(ucp_worker_create(context_, &threads, &worker_), "worker"));
  handle<ping>(), handle<pong>(), handle<small>(), handle<large>(), handle<ack>(), handle<stop>();
  std::memset(large_.writable().data(), 1, large_bytes);
  return {};
}

raw_ucx::~raw_ucx() {
  if (peer_) {
    ucp_request_param_t force{};
    force.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    force.flags = UCP_EP_CLOSE_FLAG_FORCE;
    auto* const closing = ucp_ep_close_nbx(peer_, &force);
    if (UCS_PTR_IS_PTR(closing)) {
      while (ucp_request_check_status(closing) == UCS_INPROGRESS) progress();
      ucp_request_free(closing);
    }
  }
  if (worker_) ucp_worker_destroy(worker_);
  if (context_) ucp_cleanup(context_);
}

std::vector<std::byte> raw_ucx::address() const {
  ucp_address_t* address = nullptr;
  std::size_t size = 0;
  invariant(ucp_worker_get_address(worker_, &address, &size) == UCS_OK, "raw UCX: no worker address");
  const auto* const bytes = reinterpret_cast<const std::byte*>(address);
  std::vector<std::byte> out(bytes, bytes + size);
  ucp_worker_release_address(worker_, address);
  return out;
}

result<void> raw_ucx::connect(std::span<const std::byte> peer) {
  ucp_ep_params_t to{};
  to.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS;
  if (watched_) {
    to.field_mask |= UCP_EP_PARAM_FIELD_ERR_HANDLER | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
    to.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    to.err_handler.cb = [](void*, ucp_ep_h, ucs_status_t) {};
  }
  to.address = reinterpret_cast<const ucp_address_t*>(peer.data());
  return checked(ucp_ep_create(worker_, &to, &peer_), "endpoint");
}

template <raw_ucx::verb Verb>
void raw_ucx::handle() {
  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = Verb;
  handler.arg = this;
  handler.cb = [](void* self, const void*, std::size_t, void* data, std::size_t size, const ucp_am_recv_param_t* how) {
    return static_cast<raw_ucx*>(self)->on_message(Verb, data, size, *how);
  };
  invariant(ucp_worker_set_am_recv_handler(worker_, &handler) == UCS_OK, "raw UCX: no handler");
}

ucs_status_t raw_ucx::on_message(verb what, void* data, std::size_t size, const ucp_am_recv_param_t& how) {
  // Whoever gets a message reads it, as our lanes do: its bytes have to come from the other core's cache.
  if (what <= small) std::memcpy(small_.data(), data, std::min(size, small_bytes));
  switch (what) {
  case ping: send(pong, small_); break;
  case pong: ++pongs_; break;
  case small: acknowledge(small_quarter); break;
  case large: {
    if (how.recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) return receive_large(data, size), UCS_INPROGRESS;
    auto room = segment::allocate(size);
    std::memcpy(room.writable().data(), data, size);
    acknowledge(large_quarter);
    break;
  }
  case ack: {
    std::uint32_t count = 0;
    std::memcpy(&count, data, sizeof count);
    acked_ += count;
    break;
  }
  default: stopped_ = true;
  }
  return UCS_OK;
}

void raw_ucx::receive_large(void* descriptor, std::size_t size) {
  if (room_.empty()) room_.push_back(segment::allocate(large_bytes));
  auto* const under_way = new large_receive{this, std::move(room_.back())};
  room_.pop_back();
  ucp_request_param_t how{};
  how.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FLAG_NO_IMM_CMPL;
  how.user_data = under_way;
  how.cb.recv_am = [](void* request, ucs_status_t, std::size_t, void* user_data) {
    const std::unique_ptr<large_receive> done(static_cast<large_receive*>(user_data));
    done->owner->room_.push_back(std::move(done->room));
    done->owner->acknowledge(large_quarter);
    ucp_request_free(request);
  };
  const auto status =
      ucp_am_recv_data_nbx(worker_, descriptor, under_way->room.writable().data(), std::min(size, large_bytes), &how);
  invariant(!UCS_PTR_IS_ERR(status), "raw UCX: a large message cannot be fetched");
}

void raw_ucx::acknowledge(const std::uint32_t& quarter) {
  if (++received_ % quarter == 0) send(ack, std::as_bytes(std::span(&quarter, 1)));
}

void raw_ucx::send(verb what, std::span<const std::byte> bytes) {
  ucp_request_param_t how{};
  how.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK;
  how.cb.send = free_request;
  const auto status = ucp_am_send_nbx(peer_, what, nullptr, 0, bytes.data(), bytes.size(), &how);
  invariant(!UCS_PTR_IS_ERR(status), "raw UCX: the other end is gone");
}

result<void> raw_ucx::serve(duration patience) {
  received_ = 0;
  stopped_ = false;
  const auto end = clock::now() + patience;
  while (!stopped_) {
    for (int i = 0; i < 1'000; ++i) progress();
    if (clock::now() > end) return error{errc::disconnected, "raw UCX: the measuring end never came back"};
  }
  return {};
}

void raw_ucx::stop_peer() { send(stop, small_); }

std::vector<double> raw_ucx::ping_pong(duration how_long) {
  std::vector<double> round_trips;
  const auto end = clock::now() + how_long;
  for (auto begin = clock::now(); begin < end;) {
    const auto expected = pongs_ + 1;
    send(ping, small_);
    while (pongs_ < expected) progress();
    const auto now = clock::now();
    round_trips.push_back(microseconds(now - begin));
    begin = now;
  }
  return round_trips;
}

double raw_ucx::small_rate(duration how_long) { return rate_of(small, small_, small_window, how_long); }

double raw_ucx::large_rate(duration how_long) { return rate_of(large, large_.bytes(), large_window, how_long); }

double raw_ucx::rate_of(verb what, std::span<const std::byte> bytes, std::uint32_t window, duration how_long) {
  const auto begin = clock::now();
  const auto first = acked_;
  std::uint64_t sent = 0;
  while (clock::now() < begin + how_long) {
    for (std::uint32_t i = 0; i < window / 4; ++i, ++sent) send(what, bytes);
    while (sent - (acked_ - first) > window * 3 / 4) progress();
  }
  while (acked_ - first < sent) progress();
  return static_cast<double>(sent) / seconds(clock::now() - begin);
}

} // namespace troupe::net::bench
