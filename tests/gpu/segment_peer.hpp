// Another process that exports and maps device memory: this binary again, which runs one test case as the peer. It has
// GPU 1 where there are two, and answers requests one after the other over a socket, as an expert_shard does.
#pragma once

#include "runtime/exec/cuda/ipc_memory.hpp"
#include "tests/gpu/engine_rig.hpp"

#include <boost/test/unit_test.hpp>

#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace troupe::gpu_test {

inline const char* const peer_variable = "TROUPE_TEST_SEGMENT_PEER"; // "socket seed fp8 shard shards"

struct peer_request {
  enum class kind { run, export_bytes } what = kind::run;
  std::uint64_t ticket = 0;
  exec::mapped_batch batch; ///< of run
  std::size_t bytes = 0;    ///< of export_bytes: all are `ticket`
};

struct peer_answer {
  bool done = false;
  errc code = errc::bug;
  device_segment segment;
};

template <class T>
void put(int socket, const T& value) {
  BOOST_REQUIRE_EQUAL(::send(socket, &value, sizeof value, MSG_NOSIGNAL), static_cast<ssize_t>(sizeof value));
}
/// False when the other side has gone.
template <class T>
bool take(int socket, T& value) {
  return ::recv(socket, &value, sizeof value, MSG_WAITALL) == static_cast<ssize_t>(sizeof value);
}

/// Weights and experts that both sides make alike.
struct peer_model {
  model::model_config config = small_config();
  exec::random_weights weights;
  peer_model(std::uint64_t seed, bool fp8)
      : weights(seed, fp8 ? kernels::tensor_type::f8_e4m3 : kernels::tensor_type::bf16) {}

  std::vector<expert_index> experts_of(int shard, int shards) const {
    return moe::place_evenly(config.expert_count, shards, 1).experts_of(shard_id{static_cast<std::uint32_t>(shard)});
  }
};

/// A peer that owns the experts of shard `shard` of `shards`. Dies with its owner.
class segment_peer {
 public:
  segment_peer(std::uint64_t seed, bool fp8, int shard, int shards) {
    int sockets[2];
    BOOST_REQUIRE_EQUAL(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
    socket_ = sockets[0];
    std::vector<std::string> texts{std::string(peer_variable) + "=" + std::to_string(sockets[1]) + " " +
                                   std::to_string(seed) + " " + std::to_string(fp8) + " " + std::to_string(shard) +
                                   " " + std::to_string(shards)};
    for (char** v = environ; *v; ++v) texts.emplace_back(*v);
    std::vector<char*> environment;
    for (auto& t : texts) environment.push_back(t.data());
    environment.push_back(nullptr);
    std::string path = "/proc/self/exe", test = "--run_test=engine_segments/the_peer_answers";
    char* arguments[] = {path.data(), test.data(), nullptr};
    ::fcntl(socket_, F_SETFD, FD_CLOEXEC);
    BOOST_REQUIRE_EQUAL(::posix_spawn(&pid_, path.c_str(), nullptr, nullptr, arguments, environment.data()), 0);
    ::close(sockets[1]);
  }
  segment_peer(const segment_peer&) = delete;
  segment_peer& operator=(const segment_peer&) = delete;
  ~segment_peer() {
    if (pid_ > 0) kill();
    ::close(socket_);
  }

  void ask(const peer_request& request) { put(socket_, request); }
  peer_answer answer() {
    peer_answer got;
    BOOST_REQUIRE(take(socket_, got));
    return got;
  }
  /// kill -9; returns when it is gone.
  void kill() {
    ::kill(pid_, SIGKILL);
    ::waitpid(std::exchange(pid_, 0), nullptr, 0);
  }

 private:
  int socket_ = -1;
  pid_t pid_ = 0;
};

/// What the peer does; false in a process that is none.
inline bool be_peer() {
  const char* const text = std::getenv(peer_variable);
  if (!text) return false;
  int socket = -1, fp8 = 0, shard = 0, shards = 0;
  unsigned long long seed = 0;
  BOOST_REQUIRE_EQUAL(std::sscanf(text, "%d %llu %d %d %d", &socket, &seed, &fp8, &shard, &shards), 5);
  peer_model m(seed, fp8 != 0);
  const auto device = exec::open_cuda(1).value(); // GPU 0 where there is one
  device.enter();
  const auto owned = m.experts_of(shard, shards);
  const auto experts = exec::cuda_experts::load(device, m.weights, m.config, owned).value();
  exec::exported_memory exported;
  for (peer_request request; take(socket, request);) {
    peer_answer reply;
    if (request.what == peer_request::kind::export_bytes) {
      exported.reserve(request.bytes).value();
      exec::must(cudaMemset(exported.as<void>(), static_cast<int>(request.ticket), request.bytes));
      exec::must(cudaDeviceSynchronize());
      reply = {true, {}, exported.segment()};
    } else {
      const auto outputs = experts->run_mapped(request.batch, request.ticket);
      reply = outputs ? peer_answer{true, {}, *outputs} : peer_answer{false, outputs.error().code, {}};
    }
    put(socket, reply);
  }
  return true;
}

} // namespace troupe::gpu_test
