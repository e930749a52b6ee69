#include "runtime/net/secret.hpp"

#include "runtime/core/limits.hpp"
#include "tests/support/temp_dir.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <vector>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace troupe;
using namespace troupe::net;
using troupe::test::temp_dir;

namespace {

constexpr std::string_view good = "correct horse battery";

bool same(const cluster_secret& a, const cluster_secret& b) { return std::ranges::equal(a.key(), b.key()); }

unsigned mode_of(const std::filesystem::path& path) {
  struct stat about {};
  BOOST_TEST_REQUIRE(::stat(path.c_str(), &about) == 0);
  return about.st_mode & 0777;
}

std::filesystem::path write_key(const temp_dir& dir, std::string_view text, unsigned mode = 0600) {
  dir.write("key", text);
  const auto path = dir.path() / "key";
  BOOST_TEST_REQUIRE(::chmod(path.c_str(), mode) == 0);
  return path;
}

void check_refused(const secret_sources& from, std::string_view why) {
  const auto refused = load_cluster_secret(from);
  BOOST_TEST_REQUIRE(!refused.has_value());
  const auto& message = refused.error().message;
  BOOST_TEST(message.find(why) != std::string::npos, message);
  BOOST_TEST(message.find('\n') == std::string::npos);
  BOOST_TEST(message.find(good.substr(0, 7)) == std::string::npos, "the secret is in: " << message);
}

} // namespace

BOOST_AUTO_TEST_SUITE(secret)

BOOST_AUTO_TEST_CASE(the_environment_comes_before_the_flag_and_the_default) {
  const temp_dir dir;
  const auto flag = write_key(dir, "another secret of a file");
  const auto loaded = load_cluster_secret({std::string(good), flag, dir.path() / "default"});
  BOOST_TEST(same(*loaded, cluster_secret(good)));
  BOOST_TEST(!std::filesystem::exists(dir.path() / "default"));
}

BOOST_AUTO_TEST_CASE(the_flags_file_comes_before_the_default_and_may_end_in_a_newline) {
  const temp_dir dir;
  const auto loaded = load_cluster_secret({{}, write_key(dir, std::string(good) + "\r\n"), dir.path() / "default"});
  BOOST_TEST(same(*loaded, cluster_secret(good)));
}

BOOST_AUTO_TEST_CASE(the_default_file_is_made_once_for_its_owner_only) {
  const temp_dir dir;
  const auto file = dir.path() / "config/troupe/cluster.key";
  const auto first = load_cluster_secret({{}, {}, file});
  const auto second = load_cluster_secret({{}, {}, file});
  BOOST_TEST(same(*first, *second));
  BOOST_TEST(mode_of(file) == 0600u);
  BOOST_TEST(std::filesystem::file_size(file) == 65u); // 32 bytes in hex and a newline
  const auto files = std::filesystem::directory_iterator(file.parent_path());
  BOOST_TEST(std::distance(begin(files), end(files)) == 1); // no draft is left
}

BOOST_AUTO_TEST_CASE(two_machines_make_different_secrets) {
  const temp_dir dir;
  const auto one = load_cluster_secret({{}, {}, dir.path() / "one"});
  const auto two = load_cluster_secret({{}, {}, dir.path() / "two"});
  BOOST_TEST(!same(*one, *two));
}

BOOST_AUTO_TEST_CASE(a_file_that_others_may_use_is_refused) {
  const temp_dir dir;
  for (const unsigned mode : {0604u, 0640u, 0602u, 0660u, 0644u})
    check_refused({{}, write_key(dir, good, mode), {}}, "chmod 600");
}

BOOST_AUTO_TEST_CASE(a_flags_file_that_is_not_there_is_not_made) {
  const temp_dir dir;
  check_refused({{}, dir.path() / "missing", {}}, "No such file");
  BOOST_TEST(!std::filesystem::exists(dir.path() / "missing"));
}

BOOST_AUTO_TEST_CASE(a_folder_is_no_secret) {
  const temp_dir dir;
  check_refused({{}, dir.path(), {}}, "not a plain file");
}

BOOST_AUTO_TEST_CASE(short_and_long_secrets_are_refused) {
  const temp_dir dir;
  check_refused({std::string(), {}, {}}, "TROUPE_CLUSTER_SECRET: a secret of 0 characters");
  check_refused({std::string("correct horse"), {}, {}}, "at least 16");
  check_refused({std::string(limits::secret_bytes_max + 1, 'x'), {}, {}}, "longer than 4096");
  check_refused({{}, write_key(dir, std::string(100'000, 'x')), {}}, "longer than 4096");
  check_refused({{}, write_key(dir, ""), {}}, "key: a secret of 0 characters");
}

BOOST_AUTO_TEST_CASE(without_a_home_somebody_has_to_say_where_it_is) { check_refused({{}, {}, {}}, "HOME: not set"); }

// Processes of a cluster start together.
BOOST_AUTO_TEST_CASE(processes_that_make_the_default_at_the_same_time_share_one) {
  const temp_dir dir;
  const auto file = dir.path() / "new/cluster.key";
  std::vector<pid_t> children;
  for (int i = 0; i < 8; ++i) {
    const auto child = ::fork();
    if (child == 0) {
      const auto mine = load_cluster_secret({{}, {}, file});
      const auto later = load_cluster_secret({{}, {}, file});
      ::_exit(mine && later && same(*mine, *later) ? 0 : 1);
    }
    children.push_back(child);
  }
  for (const auto child : children) {
    int status = 1;
    ::waitpid(child, &status, 0);
    BOOST_TEST(status == 0);
  }
}

BOOST_AUTO_TEST_CASE(a_folder_that_cannot_be_written_is_named) {
  const temp_dir dir;
  dir.write("plain", "x");
  check_refused({{}, {}, dir.path() / "plain/troupe/cluster.key"}, "plain/troupe: cannot make it");
}

BOOST_AUTO_TEST_CASE(xdg_config_home_moves_the_default) {
  const char* const config_before = std::getenv("XDG_CONFIG_HOME");
  const std::string saved = config_before ? config_before : "";
  ::setenv("XDG_CONFIG_HOME", "/tmp/xdg", 1);
  const auto moved = secret_sources_from_environment("flag");
  ::setenv("XDG_CONFIG_HOME", "relative", 1);
  const auto kept = secret_sources_from_environment();
  if (config_before)
    ::setenv("XDG_CONFIG_HOME", saved.c_str(), 1);
  else
    ::unsetenv("XDG_CONFIG_HOME");
  BOOST_TEST(moved.default_file == "/tmp/xdg/troupe/cluster.key");
  BOOST_TEST(moved.file == "flag");
  BOOST_TEST(kept.default_file.string().ends_with("/.config/troupe/cluster.key"));
}

BOOST_AUTO_TEST_SUITE_END()
