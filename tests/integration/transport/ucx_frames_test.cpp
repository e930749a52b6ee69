// Frames between two transports in one process, over TCP and over shared memory.
#include "tests/support/test_seed.hpp"
#include "tests/support/transport_rig.hpp"

#include <boost/test/data/test_case.hpp>

using namespace troupe;
using namespace troupe::testing;

BOOST_AUTO_TEST_SUITE(ucx_frames)

const auto networks = boost::unit_test::data::make({"tcp", "posix,sysv,cma"});

BOOST_DATA_TEST_CASE(a_peer_is_up_on_both_sides_and_brings_its_hello, networks, network) {
  node a(options_for(network), "from a");
  node b(options_for(network), "from b");

  a.connected_to(b);

  BOOST_REQUIRE(b.heard.wait_up(a.transport->uri()).has_value());
  BOOST_TEST(a.heard.hello_of(b.transport->uri()) == "from b");
  BOOST_TEST(b.heard.hello_of(a.transport->uri()) == "from a");
}

BOOST_DATA_TEST_CASE(connecting_again_gives_the_same_peer, networks, network) {
  node a(network);
  node b(network);

  const auto peer = a.connected_to(b);
  const auto again = a.transport->connect(b.transport->uri());
  BOOST_REQUIRE(b.heard.wait_up(a.transport->uri()).has_value());
  const auto back = b.transport->connect(a.transport->uri());

  BOOST_TEST((again.value() == peer));
  BOOST_TEST((back.value() == b.heard.wait_up(a.transport->uri()).value()));
}

BOOST_DATA_TEST_CASE(frames_sent_before_the_peer_is_up_arrive, networks, network) {
  node a(network);
  node b(network);

  const auto peer = a.transport->connect(b.transport->uri());
  BOOST_REQUIRE(a.send(*peer, "early").has_value());

  const auto frame = b.heard.wait_frame();
  BOOST_REQUIRE(frame.has_value());
  BOOST_TEST(frame->meta == "early");
}

namespace {

std::string random_text(std::mt19937_64& random, std::size_t size) {
  std::string out(size, '\0');
  std::size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    const auto word = random();
    std::memcpy(out.data() + at, &word, 8);
  }
  for (; at < size; ++at) out[at] = static_cast<char>(random());
  return out;
}

std::size_t random_size(std::mt19937_64& random) {
  static constexpr std::array<std::size_t, 14> sizes{0,     1,     7,     64,     1'000,  7'951,  7'952,
                                                     7'953, 8'191, 8'192, 65'535, 65'536, 65'537, 1u << 20};
  return sizes[random() % sizes.size()];
}

struct sent_frame {
  std::string meta;
  std::vector<segment> segments;
};

sent_frame random_frame(std::mt19937_64& random) {
  sent_frame out{random_text(random, random_size(random)), {}};
  for (auto n = random() % 3 == 0 ? random() % 6 : 0; n > 0; --n)
    out.segments.push_back(segment::copy_of(bytes_of(random_text(random, random_size(random)))));
  return out;
}

bool same(const got_frame& got, const sent_frame& sent) {
  return got.meta == sent.meta && std::ranges::equal(got.segments, sent.segments, [](const auto& a, const auto& b) {
           return std::ranges::equal(a.bytes(), b.bytes());
         });
}

} // namespace

BOOST_DATA_TEST_CASE(frames_of_any_size_arrive_whole_and_in_order, networks, network) {
  std::mt19937_64 random(fresh_seed());
  node a(network);
  node b(network);
  const auto to_b = a.connected_to(b);
  const auto to_a = b.heard.wait_up(a.transport->uri()).value();

  for (int round = 0; round < 8; ++round) {
    std::vector<sent_frame> sent;
    for (int i = 0; i < 60; ++i) sent.push_back(random_frame(random));
    for (const auto& frame : sent) {
      BOOST_REQUIRE(a.send(to_b, frame.meta, frame.segments).has_value());
      BOOST_REQUIRE(b.send(to_a, frame.meta, frame.segments).has_value());
    }
    for (auto* const side : {&b, &a})
      for (const auto& frame : sent) {
        const auto got = side->heard.wait_frame();
        BOOST_REQUIRE(got.has_value());
        BOOST_REQUIRE(same(*got, frame));
      }
  }
  BOOST_TEST(a.heard.aligned());
  BOOST_TEST(b.heard.aligned());
}

BOOST_AUTO_TEST_SUITE_END()
