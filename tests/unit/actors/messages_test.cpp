// Wire forms: what is written is read back; what is too long is refused before memory is taken for it.
#include "actors/interfaces.hpp"
#include "actors/system_config.hpp"

#include <boost/test/unit_test.hpp>
#include <caf/binary_deserializer.hpp>
#include <caf/binary_serializer.hpp>
#include <caf/deep_to_string.hpp>

#include <algorithm>
#include <vector>

using namespace troupe;

namespace {

struct wire {
  system_config config{reach::this_process};
  caf::actor_system system{config};

  template <class T>
  std::vector<char> write(T value) {
    std::vector<char> bytes;
    caf::binary_serializer out{system, bytes};
    BOOST_REQUIRE(!out(value));
    return bytes;
  }

  template <class T>
  T read(const std::vector<char>& bytes) {
    T value;
    caf::binary_deserializer in{system, bytes};
    BOOST_REQUIRE(!in(value));
    return value;
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(messages, wire)

BOOST_AUTO_TEST_CASE(a_request_arrives_as_it_was_sent) {
  generation_request sent;
  sent.id = request_id{0x1234567890abcdef};
  sent.prompt = {1, -1, 129'279};
  sent.output = {7};
  sent.sampling.temperature = 0.6f;
  sent.sampling.seed = ~std::uint64_t{0};
  sent.sampling.stop_token_ids = {5, 6};
  sent.sampling.prompt_logprobs = true;

  const auto got = read<generation_request>(write(sent));

  BOOST_TEST(got.id.value == sent.id.value);
  BOOST_TEST(got.prompt == sent.prompt, boost::test_tools::per_element());
  BOOST_TEST(got.output == sent.output, boost::test_tools::per_element());
  BOOST_TEST(got.sampling.temperature == 0.6f);
  BOOST_TEST(got.sampling.seed == sent.sampling.seed);
  BOOST_TEST(got.sampling.stop_token_ids == sent.sampling.stop_token_ids, boost::test_tools::per_element());
  BOOST_TEST(got.sampling.prompt_logprobs);
}

BOOST_AUTO_TEST_CASE(a_shard_batch_keeps_its_bytes) {
  dispatch_rows sent;
  sent.ticket = 77;
  sent.batch.type = moe::element::bf16;
  sent.batch.layer = 3;
  sent.batch.hidden_size = 2;
  sent.batch.inputs = segment::copy_of(std::vector{std::byte{0}, std::byte{255}, std::byte{7}, std::byte{128}});
  sent.batch.experts = {4, 9};
  sent.batch.rows = {0, 0};

  const auto got = read<dispatch_rows>(write(sent));

  BOOST_TEST(got.ticket == 77u);
  BOOST_TEST((got.batch.type == moe::element::bf16));
  BOOST_TEST(std::ranges::equal(got.batch.inputs.bytes(), sent.batch.inputs.bytes()));
  BOOST_TEST(got.batch.experts == sent.batch.experts, boost::test_tools::per_element());
  BOOST_TEST(got.batch.hidden_size == 2);
}

BOOST_AUTO_TEST_CASE(a_mapped_batch_and_its_answer_arrive_as_they_were_sent) {
  const device_segment rows{~std::uint64_t{0}, 77, 3, 9, 1u << 30, {1, 2, 3, 4, 5, 6, 7, ~std::uint64_t{0}}};
  const auto got = read<dispatch_mapped>(write(dispatch_mapped{5, "here", {61, 7168, 64, 8, rows}}));
  BOOST_TEST(got.ticket == 5u);
  BOOST_TEST(got.host == "here");
  BOOST_TEST(got.batch.layer == 61);
  BOOST_TEST(got.batch.hidden_size == 7168);
  BOOST_TEST(got.batch.row_count == 64);
  BOOST_TEST(got.batch.experts_per_row == 8);
  BOOST_TEST((got.batch.rows == rows));

  const auto done = read<mapped_done>(write(mapped_done{6, rows, errc::unsupported, "why"}));
  BOOST_TEST(done.ticket == 6u);
  BOOST_TEST((done.outputs == rows));
  BOOST_TEST((done.code == errc::unsupported));
  BOOST_TEST(done.failure == "why");
}

BOOST_AUTO_TEST_CASE(an_array_that_claims_more_than_the_limit_is_refused) {
  moe::shard_output empty;
  auto bytes = write(empty);
  bytes[1] = 1; // after the place, the 64-bit size, most significant byte first: 2^56 bytes

  moe::shard_output got;
  caf::binary_deserializer in{system, bytes};

  BOOST_TEST(bool(in(got)), "an error is returned");
  BOOST_TEST(got.outputs.empty());
}

BOOST_AUTO_TEST_CASE(a_truncated_array_is_an_error) {
  moe::shard_output sent;
  sent.outputs = segment::allocate(100);
  auto bytes = write(sent);
  bytes.resize(50);

  moe::shard_output got;
  caf::binary_deserializer in{system, bytes};

  BOOST_TEST(bool(in(got)), "an error is returned");
}

BOOST_AUTO_TEST_CASE(printing_a_request_shows_no_prompt) {
  generation_request sent;
  sent.prompt = {48'213, 48'213};

  BOOST_TEST(caf::deep_to_string(sent).find("48213") == std::string::npos);
}

BOOST_AUTO_TEST_SUITE_END()
