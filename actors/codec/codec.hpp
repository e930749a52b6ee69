// Messages between actors of different processes, written as schemas/*.capnp say. The bridge (runtime/net/bridge) asks
// for these two functions by type; messages it finds none for travel as CAF writes them (actors/inspect.hpp).
// Invariant: decode never throws, never reads a message more than twice through, and never goes deeper than
// nesting_max: any bytes give a message or an error of one line.
#pragma once

#include "actors/gateways/job_messages.hpp"
#include "actors/interfaces.hpp"
#include "runtime/core/result.hpp"

#include <caf/fwd.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <tuple>
#include <vector>

namespace troupe::codec {

inline constexpr int nesting_max = 8;

/// Every message that crosses processes as Cap'n Proto. Not here: tokens_emitted, dispatch_rows, dispatch_mapped and
/// their answers, whose fixed layout the hot path reads in place (data.capnp), and what a process tells only itself.
using messages =
    std::tuple<submit_request, admit_request, cancel_request, admission, join_cluster, role_assignment, role_progress,
               role_ready, role_draining, kv_cache_ready, expert_shard_ready, cluster_view, watch_cluster,
               cluster_status, submit_job, get_job, cancel_job, job_progress, fetch_results, job_results>;

/// What `T` is called in its schema, "AdmitRequest". `T` here and below is one of `messages`.
template <class T>
std::string name_of();

/// Local actors whose handles are in it become known to the system's registry.
template <class T>
std::vector<std::byte> encode(const T& message);

/// The bytes may lie at any address (UCX does not align them); they are copied if that is odd. `context` gives handles
/// their way to other nodes; null will do for messages without handles. Errors: bad_input with the message's name and
/// what is wrong with it.
template <class T>
result<T> decode(std::span<const std::byte> bytes, caf::execution_unit* context);

} // namespace troupe::codec
