// Weights on their way to the device: the same bytes, whatever the size, the thread and the order.
#include "runtime/exec/cuda/uploader.hpp"
#include "tests/gpu/device_buffer.hpp"
#include "tests/support/test_seed.hpp"

#include <random>

using namespace troupe;
using namespace troupe::exec;
using test::device_buffer;

BOOST_AUTO_TEST_SUITE(engine_uploader, *boost::unit_test::precondition(test::needs_gpu))

BOOST_AUTO_TEST_CASE(bytes_arrive_as_they_were) {
  std::mt19937_64 random(testing::fresh_seed());
  constexpr auto piece = uploader::piece_bytes;
  std::vector<std::vector<std::uint8_t>> sources;
  std::vector<std::unique_ptr<device_buffer<std::uint8_t>>> targets;
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{4097}, piece - 1, piece, piece + 1, 7 * piece + 13, 40 * piece}) {
    sources.emplace_back(size);
    for (auto& b : sources.back()) b = static_cast<std::uint8_t>(random());
    targets.push_back(std::make_unique<device_buffer<std::uint8_t>>(size + 1));
  }

  uploader to;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    auto* target = targets[i]->get();
    if (i % 3 == 2) {
      to.copy_now(target, sources[i].data(), sources[i].size());
    } else {
      to.copy(target, sources[i].data(), sources[i].size());
    }
  }
  to.finish();

  for (std::size_t i = 0; i < sources.size(); ++i) {
    sources[i].push_back(0xFF); // nothing is written behind the end
    BOOST_TEST((targets[i]->host() == sources[i]), "size " << sources[i].size() - 1);
  }
}

BOOST_AUTO_TEST_CASE(pieces_are_made_by_other_threads) {
  const device_buffer<int> target(1000);
  uploader to;
  for (int i = 0; i < 1000; ++i)
    to.send(target.get() + i, sizeof(int), [i](std::byte* room) { *reinterpret_cast<int*>(room) = i * i; });
  to.finish();

  std::vector<int> want(1000);
  for (int i = 0; i < 1000; ++i) want[static_cast<std::size_t>(i)] = i * i;
  BOOST_TEST(target.host() == want, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_source_is_kept_until_it_is_sent_and_no_longer) {
  auto source = std::make_shared<std::vector<std::uint8_t>>(3 * uploader::piece_bytes, std::uint8_t{7});
  const std::weak_ptr<std::vector<std::uint8_t>> watched = source;
  const device_buffer<std::uint8_t> target(source->size());
  uploader to;
  to.copy(target.get(), source->data(), source->size(), source);
  source.reset();
  to.finish();

  BOOST_TEST(watched.expired());
  BOOST_TEST((target.host() == std::vector<std::uint8_t>(3 * uploader::piece_bytes, 7)));
}

BOOST_AUTO_TEST_SUITE_END()
