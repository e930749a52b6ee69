// Processes that are killed or stopped: how soon the others know, and that nothing is left of them. The peers are this
// test program itself, started again for the case `peer_process`.
#include "tests/support/transport_rig.hpp"

#include "runtime/core/limits.hpp"

#include <boost/test/data/test_case.hpp>

#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <filesystem>
#include <iostream>
#include <thread>

using namespace troupe;
using namespace troupe::testing;

BOOST_AUTO_TEST_SUITE(ucx_death)

const auto networks = boost::unit_test::data::make({"tcp", "posix,sysv,cma"});

namespace {

class process {
 public:
  process(const std::string& uri, const std::string& network, bool floods) {
    std::vector<std::string> environment{"PEER_URI=" + uri, "PEER_NETWORK=" + network};
    if (floods) environment.push_back("PEER_FLOODS=1");
    for (auto** entry = environ; *entry; ++entry) environment.emplace_back(*entry);
    std::vector<char*> env;
    for (auto& entry : environment) env.push_back(entry.data());
    env.push_back(nullptr);
    std::string program = "/proc/self/exe", run = "--run_test=ucx_death/peer_process", quiet = "--log_level=nothing",
                report = "--report_level=no";
    char* const arguments[] = {program.data(), run.data(), quiet.data(), report.data(), nullptr};
    BOOST_REQUIRE(posix_spawn(&pid_, program.c_str(), nullptr, nullptr, arguments, env.data()) == 0);
  }
  ~process() {
    send(SIGKILL);
    send(SIGCONT);
    ::waitpid(pid_, nullptr, 0);
  }
  void send(int signal) { ::kill(pid_, signal); }

 private:
  pid_t pid_ = 0;
};

/// How long until `at` hears of its first end, in milliseconds.
double ms_until_down(node& at, clock::time_point since) {
  BOOST_REQUIRE(at.heard.wait([&] { return at.heard.unlocked_downs() > 0; }));
  return std::chrono::duration<double, std::milli>(clock::now() - since).count();
}

std::size_t descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

} // namespace

/// Connects, floods if it is told to, and stays until it is killed.
BOOST_AUTO_TEST_CASE(peer_process, *boost::unit_test::disabled()) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const char* const uri = std::getenv("PEER_URI");
  const char* const network = std::getenv("PEER_NETWORK");
  if (!uri || !network) return;
  node me(network);
  const auto to = me.transport->connect(uri).value();
  const auto part = segment::allocate(300'000);
  while (me.heard.down_count() == 0) {
    if (std::getenv("PEER_FLOODS"))
      (void)me.send(to, "flood", {part});
    else
      me.heard.wait([&] { return me.heard.unlocked_downs() > 0; });
  }
}

BOOST_DATA_TEST_CASE(a_killed_peer_is_down_within_milliseconds, networks, network) {
  node a(network);
  process peer(a.transport->uri(), network, false);
  BOOST_REQUIRE(a.heard.wait([&] { return a.heard.unlocked_ups() == 1; }));

  const auto begin = clock::now();
  peer.send(SIGKILL);
  const auto took = ms_until_down(a, begin);

  std::cout << "kill -9 over " << network << ": down after " << took << " ms" << std::endl;
  BOOST_TEST(took < 200);
  BOOST_TEST(a.heard.down_count() == 1u);
}

BOOST_DATA_TEST_CASE(peers_killed_in_full_flow_leave_nothing_behind, networks, network) {
  node a(network);
  std::size_t before = 0;
  for (int round = 0; round < 4; ++round) {
    {
      process peer(a.transport->uri(), network, true);
      for (int i = 0; i < 100; ++i) BOOST_REQUIRE(a.heard.wait_frame().has_value());
      const auto begin = clock::now();
      peer.send(SIGKILL);
      const auto round_downs = static_cast<std::size_t>(round) + 1;
      BOOST_REQUIRE(a.heard.wait([&] { return a.heard.unlocked_downs() == round_downs; }));
      std::cout << "kill -9 under load over " << network << ": down after "
                << std::chrono::duration<double, std::milli>(clock::now() - begin).count() << " ms" << std::endl;
    }
    while (a.heard.frame_count() > 0) a.heard.wait_frame();
    if (round == 0) before = descriptors();
  }
  BOOST_TEST(descriptors() <= before + 1);
}

BOOST_DATA_TEST_CASE(a_stopped_peer_is_down_within_a_second, networks, network) {
  node a(network);
  process peer(a.transport->uri(), network, false);
  BOOST_REQUIRE(a.heard.wait([&] { return a.heard.unlocked_ups() == 1; }));

  const auto begin = clock::now();
  peer.send(SIGSTOP);
  const auto took = ms_until_down(a, begin);

  std::cout << "SIGSTOP over " << network << ": down after " << took << " ms" << std::endl;
  BOOST_TEST(took > 500);
  BOOST_TEST(took < 1'500);
}

/// TROUPE_BUSY_S=600 is the ten minutes that liveness promises.
BOOST_AUTO_TEST_CASE(busy_processors_are_no_reason_to_give_up_a_peer) {
  const char* const seconds = std::getenv("TROUPE_BUSY_S");
  const duration busy = seconds ? std::chrono::seconds(std::atoi(seconds)) : duration(3 * limits::ping_timeout);
  node a("posix,sysv,cma");
  process peer(a.transport->uri(), "posix,sysv,cma", false);
  BOOST_REQUIRE(a.heard.wait([&] { return a.heard.unlocked_ups() == 1; }));
  std::atomic<bool> burning{true};
  std::vector<std::thread> burners;
  for (int i = 0; i < 8; ++i)
    burners.emplace_back([&] {
      while (burning) {
      }
    });

  std::promise<void> later;
  a.transport->post_at(clock::now() + busy, [&] { later.set_value(); });
  later.get_future().wait();
  burning = false;
  for (auto& burner : burners) burner.join();

  BOOST_TEST(a.heard.down_count() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
