#include "runtime/net/handshake.hpp"

#include "runtime/core/limits.hpp"
#include "tests/support/aborts.hpp"
#include "tests/support/forged_dialler.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>

using namespace troupe;
using namespace troupe::net;
using namespace troupe::test;
using troupe::testing::aborts;

namespace {

constexpr std::size_t hello_bytes = 48;
constexpr std::size_t proof_bytes = 84;

bool mentions(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

void check_refused(const handshake_rig& rig, std::string_view why) {
  BOOST_TEST(mentions(rig.failure, why), rig.failure);
  BOOST_TEST(rig.failure.find('\n') == std::string::npos);
  BOOST_TEST((!rig.dialler.done() || !rig.acceptor.done()));
}

/// Both sides' bytes of one good handshake.
std::pair<std::vector<std::byte>, std::vector<std::byte>> recorded_session() {
  handshake_rig rig;
  rig.run();
  return {rig.from_dialler, rig.from_acceptor};
}

/// Feeds `bytes` as far as the side takes them; its refusal, or empty.
std::string feed(handshake& side, std::span<const std::byte> bytes) {
  while (!bytes.empty() && side.wanted_bytes() != 0) {
    const auto size = std::min(bytes.size(), side.wanted_bytes());
    if (auto reply = side.receive(bytes.first(size)); !reply) return reply.error().message;
    bytes = bytes.subspan(size);
  }
  return {};
}

} // namespace

BOOST_AUTO_TEST_SUITE(handshake)

BOOST_AUTO_TEST_CASE(both_sides_learn_each_others_card_and_share_keys) {
  handshake_rig rig;
  rig.run();

  BOOST_TEST(rig.failure == "");
  const auto& d = rig.dialler.session();
  const auto& a = rig.acceptor.session();
  BOOST_TEST(d.peer.uri == "ucx://127.0.0.1:2/a");
  BOOST_TEST(a.peer.uri == "ucx://127.0.0.1:1/d");
  BOOST_TEST(a.peer.channel == 7u);
  BOOST_TEST(d.peer.channel == 9u);
  BOOST_TEST((a.peer.address == bytes_of("address of d")));
  BOOST_TEST((d.peer.hello == bytes_of("hello of a")));
  BOOST_TEST(a.version == protocol_version);
  BOOST_TEST((a.key == d.key));
  BOOST_TEST(a.send_tag == d.receive_tag);
  BOOST_TEST(d.send_tag == a.receive_tag);
  BOOST_TEST(d.send_tag != d.receive_tag);
}

BOOST_AUTO_TEST_CASE(the_bytes_may_arrive_one_by_one) {
  handshake_rig rig{.piece_bytes = 1};
  rig.run();
  BOOST_TEST(rig.failure == "");
  BOOST_TEST((rig.dialler.done() && rig.acceptor.done()));
}

BOOST_AUTO_TEST_CASE(every_connection_has_keys_of_its_own) {
  handshake_rig one;
  handshake_rig two;
  one.run();
  two.run();
  BOOST_TEST((one.dialler.session().key != two.dialler.session().key));
}

BOOST_AUTO_TEST_CASE(the_card_is_sent_only_to_a_peer_that_has_proved_the_secret) {
  handshake_rig rig;
  const auto proof = rig.dialler.receive(rig.acceptor.begin());
  BOOST_TEST(proof->size() == proof_bytes);
  BOOST_TEST(rig.acceptor.receive(rig.dialler.begin())->empty());
}

BOOST_AUTO_TEST_CASE(a_wrong_secret_is_refused_by_the_acceptor) {
  handshake_rig rig{.dialler = troupe::net::handshake(cluster_secret("another secret.."), dialler_options())};
  rig.run();
  check_refused(rig, "does not know this cluster's secret");
  BOOST_TEST(mentions(rig.dialler.closed_by_peer().message, "secrets"));
}

BOOST_AUTO_TEST_CASE(a_wrong_secret_is_refused_by_the_dialler) {
  const auto [dialler_bytes, acceptor_bytes] = recorded_session();
  troupe::net::handshake dialler(known_secret(), dialler_options());
  const troupe::net::handshake impostor(cluster_secret("another secret.."), acceptor_options());
  BOOST_TEST(feed(dialler, impostor.begin()) == "");
  BOOST_TEST(mentions(feed(dialler, std::span(acceptor_bytes).subspan(hello_bytes)), "secret"));
}

BOOST_AUTO_TEST_CASE(other_versions_are_refused_with_both_numbers) {
  auto newer = dialler_options();
  newer.version = 12;
  newer.version_oldest = 11;
  handshake_rig rig{.dialler = troupe::net::handshake(known_secret(), newer)};
  const auto at_acceptor = rig.acceptor.receive(rig.dialler.begin());
  const auto at_dialler = rig.dialler.receive(rig.acceptor.begin());
  BOOST_TEST(at_acceptor.error().message == "handshake: the peer speaks protocol version 12 (oldest 11), this process "
                                            "version 1 (oldest 1)");
  BOOST_TEST(at_dialler.error().message == "handshake: the peer speaks protocol version 1 (oldest 1), this process "
                                           "version 12 (oldest 11)");
}

BOOST_AUTO_TEST_CASE(the_newest_version_that_both_speak_is_used) {
  auto newer = dialler_options();
  newer.version = 3;
  handshake_rig rig{.dialler = troupe::net::handshake(known_secret(), newer)};
  rig.run();
  BOOST_TEST(rig.dialler.session().version == 1);
  BOOST_TEST(rig.acceptor.session().version == 1);
}

BOOST_AUTO_TEST_CASE(another_protocol_is_refused_by_its_first_bytes) {
  troupe::net::handshake acceptor(known_secret(), acceptor_options());
  BOOST_TEST(
      mentions(feed(acceptor, bytes_of("GET / HTTP/1.1\r\nHost: 127.0.0.1:1234567890123456789\r\n\r\n")), "47455420"));
  BOOST_TEST(acceptor.wanted_bytes() == 0u);
}

BOOST_AUTO_TEST_CASE(a_reflected_hello_is_refused) {
  for (auto how : {dialler_options(), acceptor_options()}) {
    troupe::net::handshake side(known_secret(), how);
    BOOST_TEST(mentions(feed(side, side.begin()), "our own messages"));
  }
}

BOOST_AUTO_TEST_CASE(a_reflected_hello_with_the_other_role_is_refused) {
  troupe::net::handshake side(known_secret(), dialler_options());
  auto hello = side.begin();
  hello[12] = std::byte{static_cast<std::uint8_t>(handshake_role::acceptor)};
  BOOST_TEST(mentions(feed(side, hello), "our own messages"));
}

// The man in the middle gives the dialler's own proof back to it, under a hello of his.
BOOST_AUTO_TEST_CASE(a_reflected_proof_is_refused) {
  troupe::net::handshake side(known_secret(), dialler_options());
  const troupe::net::handshake nobody(cluster_secret("another secret.."), acceptor_options());
  const auto proof = side.receive(nobody.begin());
  BOOST_TEST(mentions(feed(side, *proof), "secret"));
}

BOOST_AUTO_TEST_CASE(a_recorded_session_cannot_be_replayed_to_either_side) {
  const auto [dialler_bytes, acceptor_bytes] = recorded_session();
  troupe::net::handshake acceptor(known_secret(), acceptor_options());
  troupe::net::handshake dialler(known_secret(), dialler_options());
  BOOST_TEST(mentions(feed(acceptor, dialler_bytes), "secret"));
  BOOST_TEST(mentions(feed(dialler, acceptor_bytes), "secret"));
}

BOOST_AUTO_TEST_CASE(a_side_stays_refused) {
  troupe::net::handshake acceptor(known_secret(), acceptor_options());
  feed(acceptor, std::vector<std::byte>(hello_bytes));
  BOOST_TEST(mentions(acceptor.receive({}).error().message, "Troupe's protocol"));
}

BOOST_AUTO_TEST_CASE(a_process_that_reaches_itself_is_told_so) {
  auto same = acceptor_options();
  same.mine.uri = dialler_options().mine.uri;
  handshake_rig rig{.acceptor = troupe::net::handshake(known_secret(), same)};
  rig.run();
  check_refused(rig, "has reached itself");
}

// Both sides notice: the dialler by the acceptor's card, the acceptor by what the dialler wanted.
BOOST_AUTO_TEST_CASE(whoever_is_led_to_another_process_than_the_wanted_one_is_refused) {
  auto wrong = acceptor_options();
  wrong.mine.uri = "ucx://127.0.0.1:3/x";
  troupe::net::handshake dialler(known_secret(), dialler_options());
  troupe::net::handshake acceptor(known_secret(), wrong);
  const auto proof = dialler.receive(acceptor.begin());
  BOOST_TEST(feed(acceptor, dialler.begin()) == "");
  const auto proof_and_card = acceptor.receive(*proof);
  const auto card = dialler.receive(std::span(*proof_and_card).first(proof_bytes));
  BOOST_TEST(mentions(feed(dialler, std::span(*proof_and_card).subspan(proof_bytes)),
                      "ucx://127.0.0.1:3/x answers where ucx://127.0.0.1:2/a was expected"));
  BOOST_TEST(mentions(feed(acceptor, *card),
                      "ucx://127.0.0.1:1/d looks for ucx://127.0.0.1:2/a and found ucx://127.0.0.1:3/x"));
}

BOOST_AUTO_TEST_CASE(control_characters_do_not_get_into_a_uri) {
  auto bad = dialler_options();
  bad.mine.uri = "ucx://a\nb";
  BOOST_TEST(aborts([&] { troupe::net::handshake side(known_secret(), bad); }));
}

BOOST_AUTO_TEST_CASE(a_card_of_the_largest_sizes_passes) {
  auto large = dialler_options();
  large.mine.uri.resize(limits::card_uri_bytes_max, 'u');
  large.mine.address.resize(limits::card_address_bytes_max);
  large.mine.hello.resize(limits::card_hello_bytes_max);
  handshake_rig rig{.dialler = troupe::net::handshake(known_secret(), large)};
  rig.run();
  BOOST_TEST(rig.failure == "");
  BOOST_TEST(rig.acceptor.session().peer.address.size() == limits::card_address_bytes_max);
}

BOOST_AUTO_TEST_CASE(our_own_card_above_a_limit_is_a_bug) {
  auto large = dialler_options();
  large.mine.hello.resize(limits::card_hello_bytes_max + 1);
  BOOST_TEST(aborts([&] { troupe::net::handshake side(known_secret(), large); }));
}

// Sizes are read only after the proof: without the secret nobody gets a byte of memory from us.
BOOST_AUTO_TEST_CASE(oversized_fields_of_a_stranger_reserve_nothing) {
  handshake_rig rig;
  rig.tamper = [](bool by_dialler, std::vector<std::byte>& bytes) {
    if (by_dialler && bytes.size() == proof_bytes) std::fill_n(bytes.begin() + 4, 16, std::byte{0xff});
  };
  rig.run();
  check_refused(rig, "secret");
  BOOST_TEST(rig.acceptor.wanted_bytes() == 0u);
}

BOOST_AUTO_TEST_CASE(a_peer_written_from_the_description_alone_is_understood) {
  troupe::net::handshake acceptor(known_secret(), acceptor_options());
  BOOST_TEST(forged_dialler::of("ucx://h:1/d", "ucx://127.0.0.1:2/a", "way", "hi").shake(acceptor) == "");
  BOOST_TEST_REQUIRE(acceptor.done());
  BOOST_TEST(acceptor.session().peer.uri == "ucx://h:1/d");
  BOOST_TEST(acceptor.session().peer.channel == 5u);
  BOOST_TEST((acceptor.session().peer.address == bytes_of("way")));
  BOOST_TEST((acceptor.session().peer.hello == bytes_of("hi")));
}

BOOST_AUTO_TEST_CASE(a_member_of_the_cluster_cannot_send_an_oversized_or_odd_card_either) {
  const auto refusal = [](const forged_dialler& by) {
    troupe::net::handshake acceptor(known_secret(), acceptor_options());
    const auto why = by.shake(acceptor);
    BOOST_TEST(acceptor.wanted_bytes() == 0u);
    return why;
  };
  const std::string uri = "ucx://h:1/d";
  BOOST_TEST(refusal(forged_dialler::of(std::string(513, 'u'), "", "", "")) ==
             "handshake: uri of 513 bytes; at most 512");
  BOOST_TEST(refusal(forged_dialler::of(uri, std::string(513, 'u'), "", "")) ==
             "handshake: wanted uri of 513 bytes; at most 512");
  BOOST_TEST(refusal({{5, 1, 0, 65537, 0}, {}}) == "handshake: worker address of 65537 bytes; at most 65536");
  BOOST_TEST(refusal({{5, 1, 0, 0, ~0u}, {}}) == "handshake: owner's hello of 4294967295 bytes; at most 65536");
  BOOST_TEST(refusal(forged_dialler::of("", "", "way", "")) == "handshake: the peer has no uri");
  BOOST_TEST(refusal(forged_dialler::of("ucx://a\nb", "", "", "")) ==
             "handshake: the peer's uri is not printable ASCII");
  auto swapped = forged_dialler::of(uri, "", "way", "hi");
  swapped.digest_fits = false;
  BOOST_TEST(refusal(swapped) == "handshake: the peer's card is not the one it has proved");
}

BOOST_AUTO_TEST_CASE(a_truncated_session_is_never_done) {
  handshake_rig whole;
  whole.run();
  for (std::size_t size = 0; size < whole.from_dialler.size(); ++size) {
    handshake_rig rig;
    std::size_t passed = 0;
    rig.tamper = [&](bool by_dialler, std::vector<std::byte>& bytes) {
      if (!by_dialler) return;
      bytes.resize(std::min(bytes.size(), size - passed));
      passed += bytes.size();
    };
    rig.run();
    BOOST_TEST_REQUIRE(!rig.acceptor.done());
    BOOST_TEST_REQUIRE(rig.failure == "");
    BOOST_TEST_REQUIRE(rig.acceptor.wanted_bytes() > 0u);
  }
}

// Every bit of every message, both directions: the receiver of the changed byte, or the peer that checks the next
// proof, refuses; whoever received it is never done.
BOOST_AUTO_TEST_CASE(any_flipped_bit_is_refused) {
  const auto [dialler_bytes, acceptor_bytes] = recorded_session();
  for (const bool flip_dialler : {true, false}) {
    const auto size = flip_dialler ? dialler_bytes.size() : acceptor_bytes.size();
    for (std::size_t bit = 0; bit < size * 8; ++bit) {
      handshake_rig rig;
      std::size_t passed = 0;
      rig.tamper = [&](bool by_dialler, std::vector<std::byte>& bytes) {
        if (by_dialler != flip_dialler) return;
        const auto at = bit / 8;
        if (passed <= at && at < passed + bytes.size()) bytes[at - passed] ^= std::byte{1} << (bit % 8);
        passed += bytes.size();
      };
      rig.run();
      BOOST_TEST_REQUIRE(rig.failure != "", "bit " << bit << (flip_dialler ? " of the dialler" : " of the acceptor"));
      BOOST_TEST_REQUIRE(!(flip_dialler ? rig.acceptor : rig.dialler).done());
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
