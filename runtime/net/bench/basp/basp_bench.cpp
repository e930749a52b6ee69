// basp_bench [MILLISECONDS]: the round trip of one actor message of 64 bytes between two processes over CAF's own TCP
// protocol, with CAF's own settings, as one line of JSON. A program of its own, so that no other one links caf_io.
#include "runtime/net/bench/load_actors.hpp"

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/io/middleman.hpp>
#include <caf/send.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <vector>

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

namespace bench = troupe::net::bench;

namespace {

using bytes = std::vector<char>; // BASP has no type that is not copied

struct config : caf::actor_system_config {
  config() {
    add_message_type<bench::small_message>("bench_small_message");
    load<caf::io::middleman>();
  }
};

/// Serves until the other process is gone.
int serve(int announce, int lifeline) {
  config settings;
  caf::actor_system system{settings};
  const auto port = system.middleman().publish(system.spawn(bench::answerer<bytes>), 0, "127.0.0.1");
  const std::uint16_t bound = port ? *port : 0;
  char end = 0;
  if (write(announce, &bound, sizeof bound) != sizeof bound || !port) return 1;
  return read(lifeline, &end, 1) == 0 ? 0 : 1;
}

int measure(int announced, troupe::duration how_long) {
  std::uint16_t port = 0;
  if (read(announced, &port, sizeof port) != sizeof port || port == 0) return 1;
  config settings;
  caf::actor_system system{settings};
  const auto peer = system.middleman().remote_actor<caf::actor>("127.0.0.1", port);
  if (!peer) return 1;
  std::vector<double> round_trips;
  for (const auto part : {how_long / 4, how_long}) { // the first one warms up
    std::promise<std::vector<double>> done;
    caf::anon_send(system.spawn<bench::pinger>(bench::pinger::task{*peer, part, {}, &done}), caf::ok_atom_v);
    round_trips = done.get_future().get();
  }
  std::printf("{\"basp_us\": %.3f}\n", bench::median(round_trips) / 2);
  std::fflush(stdout);
  return 0;
}

} // namespace

int main(int argc, char** argv) {
  const std::chrono::milliseconds how_long(argc > 1 ? std::atoi(argv[1]) : 300);
  int announce[2], lifeline[2];
  if (pipe(announce) != 0 || pipe(lifeline) != 0) return 1;
  const auto server = fork();
  if (server < 0) return 1;
  if (server == 0) {
    close(lifeline[1]);
    std::_Exit(serve(announce[1], lifeline[0]));
  }
  const int status = measure(announce[0], how_long);
  kill(server, SIGKILL);
  waitpid(server, nullptr, 0);
  std::_Exit(status); // taking BASP apart can take seconds and measures nothing
}
