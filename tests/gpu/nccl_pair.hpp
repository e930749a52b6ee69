// A pair of ranks in two processes: this one, and this binary again, which runs one test case as rank 1. They have a
// GPU each where there are two; else they share GPU 0, and NCCL takes them for two hosts and moves bytes through
// sockets.
#pragma once

#include "runtime/exec/cuda/nccl_group.hpp"

#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <memory>
#include <spawn.h>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::gpu_test {

inline const char* const peer_variable = "TROUPE_TEST_NCCL_ID"; // holds the id in hex, in the process that is rank 1

inline bool has_two_gpus() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 1;
}

inline boost::test_tools::assertion_result has_nccl(boost::unit_test::test_unit_id) {
  const auto id = exec::nccl_group::make_id();
  boost::test_tools::assertion_result yes(id.has_value());
  yes.message() << (id ? "" : id.error().message);
  return yes;
}

inline std::string to_hex(const exec::nccl_id& id) {
  std::string text;
  for (const auto b : id) {
    text += "0123456789abcdef"[std::to_integer<int>(b) / 16];
    text += "0123456789abcdef"[std::to_integer<int>(b) % 16];
  }
  return text;
}
inline exec::nccl_id from_hex(const std::string& text) {
  exec::nccl_id id;
  for (std::size_t i = 0; i < id.size(); ++i)
    id[i] = static_cast<std::byte>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  return id;
}

/// Starts rank 1 as `test`, which joins by peer_group().
inline pid_t start_peer(const exec::nccl_id& id, std::string test) {
  std::vector<std::string> texts{std::string(peer_variable) + "=" + to_hex(id)};
  if (!has_two_gpus()) texts.emplace_back("NCCL_HOSTID=another");
  for (char** v = environ; *v; ++v)
    if (!std::string_view(*v).starts_with("NCCL_HOSTID=")) texts.emplace_back(*v);
  std::vector<char*> environment;
  for (auto& t : texts) environment.push_back(t.data());
  environment.push_back(nullptr);
  std::string path = "/proc/self/exe";
  test.insert(0, "--run_test=");
  char* arguments[] = {path.data(), test.data(), nullptr};
  pid_t pid = 0;
  BOOST_REQUIRE_EQUAL(posix_spawn(&pid, path.c_str(), nullptr, nullptr, arguments, environment.data()), 0);
  return pid;
}

/// Rank 0's group with the peer that is being started.
inline std::unique_ptr<exec::nccl_group> group_with_peer(const exec::nccl_id& id) {
  if (!has_two_gpus()) setenv("NCCL_HOSTID", "here", 1); // read by NCCL for each new group
  return exec::nccl_group::join(id, 0, 2, exec::open_cuda(0).value(), std::chrono::seconds(60)).value();
}

/// Rank 1's; null in a process that is not started as rank 1. Its GPU becomes the current one.
inline std::unique_ptr<exec::nccl_group> peer_group() {
  const char* id = std::getenv(peer_variable);
  if (!id) return nullptr;
  const auto device = exec::open_cuda(1).value(); // GPU 0 where there is one
  device.enter();
  return exec::nccl_group::join(from_hex(id), 1, 2, device, std::chrono::seconds(60)).value();
}

} // namespace troupe::gpu_test
