@0xe0205bd1d4b7649d;
# Membership, placement and health: what roles and the supervisor say to one another. Never in the token path.
#
#   role ──JoinCluster──▶ supervisor              a process has started and asks what it shall be
#        ◀─RoleAssignment─
#        ──KvCacheReady, ExpertShardReady, RoleReady──▶      it has loaded and serves
#        ──RoleProgress every limits::heartbeat_interval──▶  health is progress, not silence's absence
#        ──RoleDraining──▶ ──drained──                       it leaves; answered when every watcher knows
#   router, kv_cache ──WatchCluster──▶ supervisor ──ClusterView──▶   at once, and after every change
#
# A lost connection says first that a process is gone (down_msg); progress that stands still says it hangs. Process
# numbers are never reused, so a message of a process that was replaced is recognised and dropped. How messages travel,
# their limits and how they may change: client.capnp.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema");

using import "client.capnp".ActorRef;

struct JoinCluster {
  # Refused unless the supervisor has started, or expects, this very process.

  name @0 :Text; # "expert_shard-1"
  pid @1 :Int64;
}

struct Placement {
  # Which expert_shard owns which expert, the same in every MoE layer. Higher epochs replace lower ones.

  epoch @0 :UInt64;
  owner @1 :List(UInt32); # [experts] shard numbers
}

struct ServingOptions {
  modelDir @0 :Text; # on the receiver's host
  dtype @1 :Text;    # "auto", "bfloat16", "float32"
  threads @2 :Int32; # 0 shares the machine's cores among its roles
  maxNumSeqs @3 :Int32;
  maxNumBatchedTokens @4 :Int32;
  maxModelLen @5 :Int32;
  kvCacheRatio @6 :Float64;
  seed @7 :UInt64;
  speculative @8 :Bool = true;
  device @9 :Text = "cpu"; # "cpu", "cuda", "cuda:N"
  isa @10 :Text = "auto";  # of CPU kernels; the supervisor names one, so that all roles have it
  deterministic @11 :Bool = true; # a request's tokens depend on nothing but itself
  kvCacheDtype @12 :Text = "auto"; # "auto", "bfloat16", "fp8_ds_mla", "fp8"
  loadFormat @13 :Text = "auto"; # or "dummy": random weights by `seed`, the same in every process
}

struct RoleAssignment {
  process @0 :UInt32;
  shard @1 :UInt32; # expert_shard only
  placement @2 :Placement;
  vocabSize @3 :Int32; # the tokenizer's: ids from here on are never sampled
  options @4 :ServingOptions;
}

struct RoleProgress {
  # `steps` moves while there is work; if it stands still for limits::health_patience with work, the role is replaced.

  process @0 :UInt32;
  steps @1 :UInt64;
  running @2 :Int32;
  waiting @3 :Int32;
  kvUsage @4 :Float64; # pages in use / pages
  draftsProposed @5 :UInt64;
  draftsAccepted @6 :UInt64;
  preemptions @7 :UInt64;
  pages @8 :Int32; # of the latent cache, used or not
  stepRows @9 :StepHistogram;
}

struct StepHistogram {
  # How many rows the steps so far have had, by the bounds 1, 8, 16, 32, ... 16384.

  steps @0 :List(UInt64); # [bounds + 1] steps with at most so many rows; the last had more than all
  rows @1 :UInt64;        # of all steps
}

struct RoleReady {
  process @0 :UInt32;
  device @1 :Text; # "cpu/amx_bf16 x2"
}

struct RoleDraining {
  process @0 :UInt32;
}

struct KvCacheReady {
  process @0 :UInt32;
  device @1 :Text;
  handle @2 :ActorRef;
}

struct ExpertShardReady {
  process @0 :UInt32;
  shard @1 :UInt32;
  device @2 :Text;
  address @3 :Text; # where it is published, for people
  handle @4 :ActorRef;
}

struct ShardRef {
  shard @0 :UInt32;
  process @1 :UInt32;
  address @2 :Text;
  handle @3 :ActorRef;
  device @4 :Text; # "cuda/sm_90a NVIDIA H200 #1"
}

struct KvCacheRef {
  process @0 :UInt32;
  handle @1 :ActorRef;
}

struct ClusterView {
  # Who serves now. The whole of it every time: a watcher that missed one needs no catching up.

  epoch @0 :UInt64; # only grows; a watcher drops older ones
  placement @1 :Placement;
  shards @2 :List(ShardRef);
  kvCaches @3 :List(KvCacheRef);
}

struct WatchCluster {
  listener @0 :ActorRef; # leaves the list when it dies
}

struct RoleStatus {
  role @0 :Text;   # "router", "kv_cache", "expert_shard", "supervisor"
  name @1 :Text;   # "kv_cache-0"
  device @2 :Text;
  state @3 :Text;  # "starting", "ready", "draining", "lost"
  pid @4 :Int64;
  steps @5 :UInt64;
  stepAgeMs @6 :Int64; # since `steps` moved while there was work; 0 when idle
  running @7 :Int32;
  waiting @8 :Int32;
  kvUsage @9 :Float64;
  restarts @10 :UInt32;
  draftsProposed @11 :UInt64;
  draftsAccepted @12 :UInt64;
  preemptions @13 :UInt64; # requests that gave their pages to others and were computed again
  pages @14 :Int32;
  stepRows @15 :StepHistogram;
}

struct ClusterStatus {
  # Answer to get_status.

  ready @0 :Bool; # every role of the recipe is ready and none drains
  roles @1 :List(RoleStatus);
}
