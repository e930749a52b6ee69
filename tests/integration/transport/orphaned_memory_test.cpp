// Whose maker has ended goes back to the kernel although it is mapped here; whose maker lives stays.
#include "runtime/net/ucx/orphaned_memory.hpp"

#include <boost/test/unit_test.hpp>

#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

namespace {

constexpr std::size_t size = 1 << 20;

/// A process that makes shared memory, and lives until the end of this object.
class maker {
 public:
  maker() {
    BOOST_REQUIRE(::pipe(orders_) == 0);
    BOOST_REQUIRE(::pipe(ids_) == 0);
    child_ = ::fork();
    if (child_ == 0) make_and_wait();
    BOOST_REQUIRE(::read(ids_[0], &memory_, sizeof(memory_)) == sizeof(memory_));
    at_ = static_cast<unsigned char*>(::shmat(memory_, nullptr, 0));
    BOOST_REQUIRE(at_ != reinterpret_cast<unsigned char*>(-1));
    ::shmctl(memory_, IPC_RMID, nullptr);
  }
  maker(const maker&) = delete;
  maker& operator=(const maker&) = delete;
  ~maker() { end(); }

  void end() {
    if (child_ < 0) return;
    ::close(orders_[1]);
    ::waitpid(std::exchange(child_, -1), nullptr, 0);
  }
  bool exists() const {
    shmid_ds state{};
    return ::shmctl(memory_, IPC_STAT, &state) == 0;
  }
  bool reads(unsigned char value) const {
    return std::ranges::all_of(std::span(at_, size), [=](unsigned char byte) { return byte == value; });
  }
  void write(unsigned char value) { std::memset(at_, value, size); }

 private:
  [[noreturn]] void make_and_wait() {
    ::close(orders_[1]);
    const int memory = ::shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
    std::memset(::shmat(memory, nullptr, 0), 7, size);
    (void)!::write(ids_[1], &memory, sizeof(memory));
    char end = 0;
    (void)!::read(orders_[0], &end, 1);
    ::_exit(0);
  }

  int orders_[2];
  int ids_[2];
  int memory_ = -1;
  pid_t child_ = -1;
  unsigned char* at_ = nullptr;
};

} // namespace

BOOST_AUTO_TEST_SUITE(orphaned_memory)

BOOST_AUTO_TEST_CASE(only_what_nobody_made_any_more_is_released) {
  maker lives;
  maker ends;
  BOOST_TEST(ends.reads(7));
  BOOST_TEST(troupe::net::release_orphaned_memory() == 0u);

  ends.end();
  BOOST_TEST(ends.exists());
  BOOST_TEST(troupe::net::release_orphaned_memory() == size);

  BOOST_TEST(!ends.exists());
  BOOST_TEST(ends.reads(0));
  ends.write(3); // as UCX may
  BOOST_TEST(lives.exists());
  BOOST_TEST(lives.reads(7));
  BOOST_TEST(troupe::net::release_orphaned_memory() == 0u);
}

BOOST_AUTO_TEST_SUITE_END()
