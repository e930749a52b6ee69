// A checkpoint that shrinks under a process ends it with one line that names the file.
#include "runtime/model/bus_error.hpp"
#include "runtime/model/mapped_file.hpp"
#include "tests/support/temp_dir.hpp"

#include <boost/test/unit_test.hpp>

#include <csignal>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

using namespace troupe;

namespace {

struct ending {
  int signal = 0;
  std::string last_words;
};

/// Maps `path` in a child process, takes the file's bytes away and reads them.
ending read_what_is_gone(const std::filesystem::path& path) {
  int ends[2];
  BOOST_REQUIRE(::pipe(ends) == 0);
  const auto child = fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    model::explain_bus_errors();
    const auto file = model::mapped_file::open(path);
    if (!file || ::truncate(path.c_str(), 0) != 0) _exit(1);
    _exit(static_cast<int>(*static_cast<const volatile std::byte*>(file->bytes().data())));
  }
  ::close(ends[1]);
  ending out;
  char bytes[256];
  for (ssize_t n = 0; (n = ::read(ends[0], bytes, sizeof bytes)) > 0;) out.last_words.append(bytes, n);
  ::close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) out.signal = WTERMSIG(status);
  return out;
}

} // namespace

BOOST_AUTO_TEST_SUITE(bus_error)

BOOST_AUTO_TEST_CASE(a_file_that_shrinks_is_named_before_the_process_ends) {
  const test::temp_dir dir;
  dir.write("model.safetensors", std::string(10'000, 'x'));
  const auto path = dir.path() / "model.safetensors";

  const auto end = read_what_is_gone(path);

  BOOST_TEST(end.signal == SIGBUS);
  BOOST_TEST(end.last_words == "troupe: " + path.string() +
                                   ": changed or became unreadable while in use; a checkpoint must stay as it is\n");
}

BOOST_AUTO_TEST_SUITE_END()
