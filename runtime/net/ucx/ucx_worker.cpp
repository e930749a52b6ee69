#include "runtime/net/ucx/ucx_worker.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/core/log.hpp"

#include <sys/epoll.h>
#include <ucs/debug/log_def.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>

namespace troupe::net {

namespace {

error unsupported(const char* what, ucs_status_t status) {
  return {errc::unsupported, std::string("ucx: ") + what + ": " + ucs_status_string(status)};
}

struct config_release {
  void operator()(ucp_config_t* config) const { ucp_config_release(config); }
};

/// A message that fits into a slot of the shared queue of a peer is written there at once; others go through a buffer
/// beside it. UCX's 128 hold 92 bytes of a message.
constexpr int shared_slot_bytes = 256;

/// An event of a TCP connection can destroy another connection. UCX 1.13 takes sixteen events at a time, and then one
/// of them may be about memory that is gone.
constexpr int tcp_events_at_once = 1;

/// The value in force. The environment wins: an operator knows the network better than our defaults do. An option of a
/// transport alone has its name only in the environment (`prefix`).
result<std::string> set_default(ucp_config_t* config, const char* name, const std::string& value,
                                const char* prefix = "UCX_") {
  if (const char* const set = std::getenv((std::string(prefix) + name).c_str())) return std::string(set);
  if (value.empty()) return value;
  const auto status = ucp_config_modify(config, name, value.c_str());
  if (status != UCS_OK) return unsupported(name, status);
  return value;
}

/// UCX reports the death of a peer as an error; for us it is everyday life, and told by on_peer_down.
ucs_log_func_rc_t log_quietly(const char*, unsigned, const char*, ucs_log_level_t level,
                              const ucs_log_component_config_t*, const char* format, va_list values) {
  if (level == UCS_LOG_LEVEL_FATAL) return UCS_LOG_FUNC_RC_CONTINUE;
  if (level > UCS_LOG_LEVEL_WARN) return UCS_LOG_FUNC_RC_STOP;
  std::array<char, 512> line{};
  (void)std::vsnprintf(line.data(), line.size(), format, values);
  log::debug("ucx: {}", line.data());
  return UCS_LOG_FUNC_RC_STOP;
}

} // namespace

error ucx_error(const std::string& what, ucs_status_t status) {
  return {errc::disconnected, what + ": " + ucs_status_string(status)};
}

result<std::unique_ptr<ucx_worker>> ucx_worker::make(const options& how) {
  [[maybe_unused]] static const bool quiet = (ucs_log_push_handler(&log_quietly), true);
  std::unique_ptr<ucx_worker> out(new ucx_worker);
  TROUPE_TRY(out->open(how));
  TROUPE_TRY(out->query());
  return out;
}

result<void> ucx_worker::open(const options& how) {
  ucp_config_t* read = nullptr;
  if (const auto status = ucp_config_read(nullptr, nullptr, &read); status != UCS_OK)
    return unsupported("configuration", status);
  const std::unique_ptr<ucp_config_t, config_release> config(read);
  TROUPE_ASSIGN(transports_, set_default(read, "TLS", how.transports));
  TROUPE_TRY(set_default(read, "NET_DEVICES", how.net_devices));
  TROUPE_TRY(set_default(read, "MM_FIFO_ELEM_SIZE", std::to_string(shared_slot_bytes)));
  TROUPE_TRY(set_default(read, "MAX_POLL", std::to_string(tcp_events_at_once), "UCX_TCP_"));

  ucp_params_t context{};
  context.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME;
  context.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  context.name = "troupe";
  ucp_context_h made = nullptr;
  if (const auto status = ucp_init(&context, read, &made); status != UCS_OK)
    return unsupported("no usable transport", status);
  context_.reset(made, &ucp_cleanup);
  event_fd_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (event_fd_ < 0) return unsupported("no wake-up", UCS_ERR_EXCEEDS_LIMIT);
  return add_worker();
}

result<void> ucx_worker::add_worker() {
  ucp_worker_params_t worker{};
  worker.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker.thread_mode = UCS_THREAD_MODE_SERIALIZED; // one thread at a time: the lock is ours
  ucp_worker_h made = nullptr;
  if (const auto status = ucp_worker_create(context_.get(), &worker, &made); status != UCS_OK)
    return unsupported("no worker", status);
  newest_.reset(made, [context = context_](ucp_worker_h old) { ucp_worker_destroy(old); });
  int event_fd = -1;
  if (const auto status = ucp_worker_get_efd(made, &event_fd); status != UCS_OK)
    return unsupported("no wake-up", status);
  epoll_event any{.events = EPOLLIN, .data = {}};
  if (::epoll_ctl(event_fd_, EPOLL_CTL_ADD, event_fd, &any) != 0)
    return unsupported("no wake-up", UCS_ERR_EXCEEDS_LIMIT);
  TROUPE_TRY(query());
  for (const auto& one : handlers_) TROUPE_TRY(tell(one));
  return {};
}

bool ucx_worker::renew() {
  if (retired_.size() >= limits::retired_workers_max) return false;
  const auto old = newest_;
  const auto added = add_worker();
  if (!added) {
    log::warn("net: {}", added.error().message);
    newest_ = old;
    (void)query(); // its address again
    return false;
  }
  retired_.push_back(old);
  return true;
}

void ucx_worker::drop_unused() {
  std::erase_if(retired_, [](const auto& old) { return old.use_count() == 1; });
}

bool ucx_worker::arm() {
  const auto armed = [](const auto& one) { return ucp_worker_arm(one.get()) == UCS_OK; };
  return armed(newest_) && std::ranges::all_of(retired_, armed);
}

result<void> ucx_worker::query() {
  ucp_worker_attr_t attributes{};
  attributes.field_mask = UCP_WORKER_ATTR_FIELD_ADDRESS | UCP_WORKER_ATTR_FIELD_MAX_AM_HEADER;
  if (const auto status = ucp_worker_query(newest_.get(), &attributes); status != UCS_OK)
    return unsupported("no worker address", status);
  const auto* const first = reinterpret_cast<const std::byte*>(attributes.address);
  address_.assign(first, first + attributes.address_length);
  header_bytes_max_ = attributes.max_am_header;
  ucp_worker_release_address(newest_.get(), attributes.address);
  return {};
}

ucx_worker::~ucx_worker() {
  if (event_fd_ >= 0) ::close(event_fd_);
}

void ucx_worker::abandon() {
  retired_.push_back(newest_);
  for (const auto& one : retired_) (void)new std::shared_ptr<ucp_worker>(one); // which nobody drops
}

result<void> ucx_worker::set_handler(unsigned id, ucp_am_recv_callback_t handler, void* context) {
  handlers_.push_back({id, handler, context});
  return tell(handlers_.back());
}

result<void> ucx_worker::tell(const handler& what) {
  ucp_am_handler_param_t params{};
  params.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS | UCP_AM_HANDLER_PARAM_FIELD_CB |
                      UCP_AM_HANDLER_PARAM_FIELD_ARG;
  params.id = what.id;
  params.flags = UCP_AM_FLAG_WHOLE_MSG;
  params.cb = what.run;
  params.arg = what.context;
  const auto status = ucp_worker_set_am_recv_handler(newest_.get(), &params);
  if (status != UCS_OK) return unsupported("no active messages", status);
  return {};
}

} // namespace troupe::net
