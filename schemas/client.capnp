@0xeef2dbbe0e109f0b;
# The way of a client's request, and jobs of many requests.
#
#   gateway ──SubmitRequest──▶ router ──AdmitRequest──▶ kv_cache          tokens come back as data.capnp's
#           ◀───Admission────                                             TokensEmitted, kv_cache ▶ router ▶ gateway
#           ──CancelRequest─▶        ──CancelRequest─▶
#   job client ──SubmitJob, GetJob, CancelJob──▶ job gateway ──JobProgress──▶
#              ──FetchResults─────────────────▶             ──JobResults───▶
#
# How a message travels. Peers have proved the cluster secret and agreed on a protocol version before the first one
# (runtime/net/README.md). One message is one frame: its type's name, interned to a number when the peers met, then
# these bytes as a single Cap'n Proto message in standard framing. Sender and receiver are actors, named by the frame.
#
# Limits. A message has at most limits::frame_meta_bytes_max bytes (64 MiB), is read at most twice through (traversal
# limit), and nests at most 8 deep. Anything over that, truncated or malformed is an error to its receiver, which drops
# the message, never the process. Ids are unique within a cluster, times are milliseconds, ages are relative: clocks of
# two machines are never compared.
#
# Evolution. Both directions work between builds of one protocol version:
#  - a field is added at the end with the default that old senders meant; a reader ignores fields it does not know;
#  - an enumerant is added at the end only where an old reader may take it for an error (ErrorCode), else with a
#    new field beside the old one;
#  - ordinals are never reused: a field that dies is renamed to obsoleteX, with the reason behind it;
#  - whoever passes a message on without reading it copies it whole, unknown fields included;
#  - what cannot be said so (another meaning of an old field) is a new protocol_version (runtime/net/handshake.hpp),
#    which peers refuse by name if they have no version in common.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");

enum ErrorCode {
  # What the receiver should do (runtime/core/errc.hpp, number by number). An unknown one is read as `bug`.

  none @0;
  badInput @1;     # the same call fails again: report it
  notFound @2;
  overloaded @3;   # come again later
  disconnected @4; # reconnect and redo
  unsupported @5;
  cancelled @6;
  bug @7;
}

struct ActorRef {
  # An actor anywhere. Its receiver dials the node only when it sends something there. A null one has no node.

  node @0 :Text; # the node's uri, "ucx://host:port/uid"; a restarted process is another node
  id @1 :UInt64; # within the node, never reused
}

struct Sampling {
  # How the next token is chosen: penalties, temperature, top-k, top-p, min-p, in this order.

  temperature @0 :Float32 = 1; # 0 means greedy
  topK @1 :Int32;              # 0 means off
  topP @2 :Float32 = 1;
  minP @3 :Float32;
  repetitionPenalty @4 :Float32 = 1;
  presencePenalty @5 :Float32;
  frequencyPenalty @6 :Float32;
  seed @7 :UInt64; # with the position, all that the draw depends on
  maxTokens @8 :Int32 = 16;
  minTokens @9 :Int32;
  ignoreEos @10 :Bool;
  stopTokenIds @11 :List(Int32);
  logprobs @12 :Int32 = -1; # alternatives to report per token; -1 means none
  promptLogprobs @13 :Bool;
}

struct Generation {
  id @0 :UInt64;
  prompt @1 :List(Int32); # at least one token
  sampling @2 :Sampling;
  priority @3 :Int32;     # smaller runs first
  output @4 :List(Int32); # what the client already has, when a request moves to another kv_cache
}

struct SubmitRequest {
  # A gateway asks the router; it answers with Admission at once, tokens follow to the listener.

  request @0 :Generation;
  listener @1 :ActorRef;
}

struct AdmitRequest {
  # The router to the kv_cache it has chosen. No answer: a refusal is a token event with finish `failed`.
  # After a lost peer the router sends it again elsewhere, with `output` filled.

  request @0 :Generation;
  owner @1 :ActorRef;
}

struct CancelRequest {
  # The client went away. Unknown ids are ignored: the request may have ended meanwhile.

  id @0 :UInt64;
}

struct Admission {
  accepted @0 :Bool = true;
  code @1 :ErrorCode; # when not accepted
  why @2 :Text;
  retryAfterS @3 :Int32; # of overloaded; 0 leaves it to the caller
}

struct SubmitJob {
  # Answered with JobProgress, or refused whole. Not idempotent: a client that lost the answer looks at its jobs first.

  lines @0 :List(Text); # OpenAI's batch format, one JSON object each; limits::job_lines_max, limits::job_bytes_max
}

struct GetJob {
  job @0 :UInt64;
}

struct CancelJob {
  # Takes no new lines and ends those under way; answered with JobProgress.

  job @0 :UInt64;
}

struct JobProgress {
  job @0 :UInt64;
  lines @1 :UInt64;
  done @2 :UInt64;   # answered, with whatever status
  failed @3 :UInt64; # of those, not with 200
  cancelled @4 :Bool;
  ageMs @5 :UInt64; # since it was submitted, or how long it took
}

struct FetchResults {
  job @0 :UInt64;
  from @1 :UInt64; # number of the first answer wanted, in the order they became known
}

struct JobResults {
  progress @0 :JobProgress;
  lines @1 :List(Text); # at most limits::job_fetch_bytes_max together, one at least if there is one
}
