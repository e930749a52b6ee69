@0xf276c9780e95a08d;
# JoinCluster and Admission as a later build may have them: the test of how schemas may change.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("troupe::schema::newer");

enum ErrorCode {
  none @0;
  badInput @1;
  notFound @2;
  overloaded @3;
  disconnected @4;
  unsupported @5;
  cancelled @6;
  bug @7;
  onFire @8;
}

struct JoinCluster {
  name @0 :Text;
  pid @1 :Int64;
  rack @2 :Text;
  gpus @3 :List(UInt64);
  weightsReady @4 :Bool = true;
}

struct Admission {
  accepted @0 :Bool = true;
  code @1 :ErrorCode;
  why @2 :Text;
  retryAfterS @3 :Int32;
}
