#include "launch/process_host.hpp"

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <sstream>

#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace troupe::launch {

namespace {

sigset_t only_sigterm() {
  sigset_t out;
  sigemptyset(&out);
  sigaddset(&out, SIGTERM);
  return out;
}

} // namespace

result<pid_t> process_host::start(const std::string& name, const std::vector<std::string>& arguments,
                                  const std::string& command) {
  std::istringstream text(command);
  std::vector<std::string> words(std::istream_iterator<std::string>(text), {});
  const bool here = words.empty();
  words.push_back(here ? "troupe" : std::filesystem::read_symlink("/proc/self/exe").string());
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  // A child must not hold our sockets open: a client would never see its connection close.
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addclosefrom_np(&files, 3);
  // A SIGTERM that comes before the child can handle it waits until the child says so: accept_sigterm().
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  const auto held = only_sigterm();
  posix_spawnattr_setsigmask(&attributes, &held);
  pid_t pid = 0;
  const int failed = posix_spawnp(&pid, here ? "/proc/self/exe" : argv[0], &files, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (failed) return error{errc::bug, "cannot start " + name + ": " + std::strerror(failed)};
  children_.emplace(pid, name);
  return pid;
}

std::vector<process_host::ended> process_host::reap() {
  std::vector<ended> out;
  for (auto it = children_.begin(); it != children_.end();) {
    int status = 0;
    if (waitpid(it->first, &status, WNOHANG) != it->first) {
      ++it;
      continue;
    }
    out.push_back({it->second, it->first, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status)});
    it = children_.erase(it);
  }
  return out;
}

void process_host::signal_all(int signal) const {
  for (const auto& [pid, name] : children_) ::kill(pid, signal);
}

void process_host::signal(pid_t pid, int signal) const {
  if (children_.contains(pid)) ::kill(pid, signal);
}

void die_with_parent(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) std::_Exit(1);
}

void leave_at_once_on(std::initializer_list<int> signals) {
  for (const int signal : signals) std::signal(signal, [](int) { _exit(0); });
}

void accept_sigterm() {
  const auto held = only_sigterm();
  pthread_sigmask(SIG_UNBLOCK, &held, nullptr);
}

} // namespace troupe::launch
