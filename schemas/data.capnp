@0xa6dd2b7a885722a4;
# The way of tokens, activations and KV pages: what moves in every step.
#
#   kv_cache ──DispatchRows──▶ expert_shard     once per layer and shard that has work; experts are stateless, so a
#            ◀───RowsDone─────                  dispatch whose answer was lost is sent again and gives the same bits
#   kv_cache ─DispatchMapped─▶ expert_shard     the same inside a host whose GPUs reach each other: rows and outputs stay
#            ◀───MappedDone───                  in device memory, and only their description travels
#   kv_cache ──TokensEmitted─▶ router ─▶ gateway    once per step
#
# Between processes of one build these five are not Cap'n Proto: rows are megabytes and there are many a step. They are
# written field by field in the order given here (actors/inspect.hpp), arrays as their little-endian bytes. The schemas
# say what the fields mean, and are the form for peers of another build or language and for recordings.
# How messages travel, their limits and how they may change: client.capnp.

using Cxx = import "/capnp/c++.capnp";
using import "client.capnp".ErrorCode;
$Cxx.namespace("troupe::schema");

enum Element {
  f32 @0;
  bf16 @1;
}

enum FinishReason {
  none @0; # more tokens follow
  stop @1;
  length @2;
  cancelled @3;
  failed @4; # the cluster's fault, or refused: see the router's log
}

struct TokenLogprob {
  token @0 :Int32;
  logprob @1 :Float32; # of the raw distribution: before temperature and masks
}

struct TokenEvent {
  # Events of one request arrive in order, each index once; the last one has a reason to finish.

  id @0 :UInt64;
  index @1 :Int32;      # in the output; negative: prompt position index + prompt size
  token @2 :Int32 = -1; # -1: none, only the end
  logprob @3 :Float32;
  top @4 :List(TokenLogprob); # best first
  finish @5 :FinishReason;
  queueMs @6 :Int32; # with index 0: how long the request waited for its first step
}

struct TokensEmitted {
  process @0 :UInt32; # of the kv_cache: events of one that was replaced are dropped
  events @1 :List(TokenEvent);
}

struct DispatchRows {
  # Pair i is expert experts[i] applied to input row rows[i]; pairs are sorted by (expert, row). Unsigned sizes are
  # checked against one another before a row is touched: rows[i] lies within inputs, experts[i] belongs to the shard.

  ticket @0 :UInt64; # comes back in the answer
  layer @1 :Int32;
  element @2 :Element;
  hiddenSize @3 :Int32;
  inputs @4 :Data;         # [distinct rows, hiddenSize] of `element`, little-endian
  experts @5 :List(Int32); # [pairs]
  rows @6 :List(Int32);    # [pairs]
}

struct RowsDone {
  # combine sums a token's outputs in ascending expert order whatever arrives first, so bits do not depend on timing.

  ticket @0 :UInt64;
  outputs @1 :Data; # [pairs, hiddenSize], unweighted, in the order of the dispatch's pairs
  failure @2 :Text; # empty, or why the batch was refused
}

struct DeviceSegment {
  # Memory of one process's device that another of the same host maps.

  owner @0 :UInt64;      # a random number of the process that exported it
  pid @1 :Int64;         # of that process: what is mapped of it is let go once it has ended
  place @2 :UInt32;      # one buffer of `owner`, which moves when it grows
  generation @3 :UInt32; # how often it has moved; an older generation is not used any more
  size @4 :UInt64;       # bytes
  handle @5 :Data;       # 64 bytes that the device library understands: cudaIpcMemHandle_t
}

struct DispatchMapped {
  # A shard computes the choices that are its experts. It reads `rows` until it has answered, and never writes there.
  # Tickets of one sender grow: a shard refuses one that is older than the last from its place, so that a batch that was
  # given up cannot overwrite the outputs of the one that took its place.

  ticket @0 :UInt64;
  host @1 :Text; # kernel, namespaces and user of the sender; on any other host the shard refuses
  layer @2 :Int32;
  hiddenSize @3 :Int32;
  rowCount @4 :Int32;
  expertsPerRow @5 :Int32;
  rows @6 :DeviceSegment; # [rowCount, hiddenSize] bf16, then [rowCount, expertsPerRow] Int32 experts, ascending in a row
}

struct MappedDone {
  # The asker reads `outputs` where they are, and only after this answer to a ticket that it still waits for. They stay
  # until its next DispatchMapped from the same place, which it sends when it has read them.

  ticket @0 :UInt64;
  outputs @1 :DeviceSegment; # [rowCount, expertsPerRow, hiddenSize] bf16, unweighted; choices of others are left out
  code @2 :ErrorCode;        # of a failure: unsupported and overloaded ask for rows by DispatchRows from now on
  failure @3 :Text;          # empty, or why the batch was refused
}

struct KvTransfer {
  # Describes latent-cache pages on their way from one kv_cache to another; the pages themselves are the frame's
  # segments, one per layer, in order. No message of protocol 1 carries one: requests move by replay (AdmitRequest with
  # `output`), and this is the form their pages take once moving is cheaper than computing them again.

  request @0 :UInt64;
  tokens @1 :UInt32;     # positions 0 .. tokens-1 are in the pages; the last page may be partly filled
  pageTokens @2 :UInt32; # limits::page_tokens of the sender; a receiver with another size refuses
  element @3 :Element;
  latentSize @4 :UInt32; # elements of the compressed latent per position and layer
  ropeSize @5 :UInt32;   # elements of the shared rotary key per position and layer
  layerFirst @6 :UInt32; # a transfer may be cut by layers
  layerCount @7 :UInt32;
  digest @8 :Data; # SHA-256 over the segments in order; 32 bytes
}
