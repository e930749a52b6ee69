// Every message that actors exchange. Commands are verb_noun, events noun_past; who sends what to whom is in
// interfaces.hpp. Peers are assumed little-endian (arrays travel as their bytes) and of one build.
#pragma once

#include "actors/inspect.hpp"

#include <caf/atom.hpp>
#include <caf/type_id.hpp>

#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

namespace troupe {

// -- the way of a token -----------------------------------------------------------------------------------------------

/// Events of one kv_cache step, in order within each request.
struct tokens_emitted {
  process_id process; ///< of the sender: events of a kv_cache that was replaced are dropped
  std::vector<token_event> events;

  auto fields() { return std::tie(process, events); }
};

struct cancel_request {
  request_id id;

  auto fields() { return std::tie(id); }
};

/// The router's answer to a submission; `why` counts only when it is not accepted.
struct admission {
  bool accepted = true;
  errc code = errc::bug;
  std::string why;
  std::int32_t retry_after_s = 0; ///< of overloaded

  auto fields() { return std::tie(accepted, code, why, retry_after_s); }
};

// -- the way of an activation -----------------------------------------------------------------------------------------

/// Work for one shard in one layer. Stateless: doing it twice gives the same bits.
struct dispatch_rows {
  std::uint64_t ticket = 0; ///< comes back in the answer
  moe::shard_batch batch;

  auto fields() { return std::tie(ticket, batch); }
};

struct rows_done {
  std::uint64_t ticket = 0;
  moe::shard_output output;
  std::string failure; ///< empty, or why the batch was refused (the plan and the placement disagree: a bug)

  auto fields() { return std::tie(ticket, output, failure); }
};

/// Work for one shard in one layer whose rows stay in the asker's device memory.
struct dispatch_mapped {
  std::uint64_t ticket = 0; ///< as above; a sender's tickets grow
  std::string host;         ///< net::host_identity() of the sender: another host maps nothing
  exec::mapped_batch batch;

  auto fields() { return std::tie(ticket, host, batch); }
};

struct mapped_done {
  std::uint64_t ticket = 0;
  device_segment outputs; ///< in the shard's device memory: they stay until the next batch from the same place
  errc code = errc::bug;  ///< of a failure: unsupported and overloaded say that the rows should be sent
  std::string failure;    ///< empty, or why the batch was refused

  auto fields() { return std::tie(ticket, outputs, code, failure); }
};

// -- the cluster ------------------------------------------------------------------------------------------------------

/// A role has started and asks what it shall be.
struct join_cluster {
  std::string name; ///< "expert_shard-1", given by whoever started it
  std::int64_t pid = 0;

  auto fields() { return std::tie(name, pid); }
};

/// What a role needs to load its part of the model.
struct role_assignment {
  process_id process; ///< never reused: tells a replacement from the one it replaces
  shard_id shard;     ///< expert_shard only
  moe::placement placement;
  std::int32_t vocab_size = 0; ///< the tokenizer's: ids from here on are never sampled
  serving_options options;

  auto fields() { return std::tie(process, shard, placement, vocab_size, options); }
};

/// Progress of one role, sent every limits::heartbeat_interval.
struct role_progress {
  process_id process;
  cluster::progress_report report;

  auto fields() { return std::tie(process, report); }
};

/// The role is loaded and serves (roles without an actor that others call: the router).
struct role_ready {
  process_id process;
  std::string device;

  auto fields() { return std::tie(process, device); }
};

struct role_draining {
  process_id process;

  auto fields() { return std::tie(process); }
};

/// The operating system reports the end of a role process.
struct process_exited {
  std::string name;
  std::int64_t pid = 0;
  std::int32_t status = 0; ///< exit code, or 128 + signal

  auto fields() { return std::tie(name, pid, status); }
};

// Messages that carry handles are defined with the interfaces.
struct submit_request;
struct admit_request;
struct kv_cache_ready;
struct expert_shard_ready;
struct cluster_view;
struct watch_cluster;

} // namespace troupe

CAF_BEGIN_TYPE_ID_BLOCK(troupe, caf::first_custom_type_id)
CAF_ADD_TYPE_ID(troupe, (troupe::tokens_emitted))
CAF_ADD_TYPE_ID(troupe, (troupe::cancel_request))
CAF_ADD_TYPE_ID(troupe, (troupe::admission))
CAF_ADD_TYPE_ID(troupe, (troupe::dispatch_rows))
CAF_ADD_TYPE_ID(troupe, (troupe::rows_done))
CAF_ADD_TYPE_ID(troupe, (troupe::dispatch_mapped))
CAF_ADD_TYPE_ID(troupe, (troupe::mapped_done))
CAF_ADD_TYPE_ID(troupe, (troupe::join_cluster))
CAF_ADD_TYPE_ID(troupe, (troupe::role_assignment))
CAF_ADD_TYPE_ID(troupe, (troupe::role_progress))
CAF_ADD_TYPE_ID(troupe, (troupe::role_ready))
CAF_ADD_TYPE_ID(troupe, (troupe::role_draining))
CAF_ADD_TYPE_ID(troupe, (troupe::process_exited))
CAF_ADD_TYPE_ID(troupe, (troupe::cluster_status))
CAF_ADD_TYPE_ID(troupe, (troupe::submit_request))
CAF_ADD_TYPE_ID(troupe, (troupe::admit_request))
CAF_ADD_TYPE_ID(troupe, (troupe::kv_cache_ready))
CAF_ADD_TYPE_ID(troupe, (troupe::expert_shard_ready))
CAF_ADD_TYPE_ID(troupe, (troupe::cluster_view))
CAF_ADD_TYPE_ID(troupe, (troupe::watch_cluster))

/// Run one step and, while there is work, tell yourself to run the next.
CAF_ADD_ATOM(troupe, troupe, step_atom, "step")
/// Tell the supervisor how far you are, and yourself to do it again.
CAF_ADD_ATOM(troupe, troupe, report_atom, "report")
/// Take nothing new, finish or hand back what you have, answer when that is done.
CAF_ADD_ATOM(troupe, troupe, drain_atom, "drain")
CAF_ADD_ATOM(troupe, troupe, drained_atom, "drained")
CAF_ADD_ATOM(troupe, troupe, get_status_atom, "getstatus")
/// A wait is over: look whether something can be done now.
CAF_ADD_ATOM(troupe, troupe, retry_atom, "retry")
CAF_END_TYPE_ID_BLOCK(troupe)
