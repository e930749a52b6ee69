// Random weights made on the device against the host's.
#include "kernels/cuda/random_fill.hpp"
#include "kernels/tensor_type.hpp"
#include "tests/gpu/device_buffer.hpp"

#include <boost/test/data/monomorphic.hpp>
#include <boost/test/data/test_case.hpp>

using namespace troupe;
using namespace troupe::cuda;

namespace {

constexpr std::uint64_t state = 0x123456789abcdef;
constexpr float step = 0.001f;

std::uint16_t bits_of(std::int64_t i) {
  std::uint64_t z = state + 0x9e3779b97f4a7c15 * static_cast<std::uint64_t>(i / 4 + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  z ^= z >> 31;
  return static_cast<std::uint16_t>(z >> (i % 4 * 16));
}

} // namespace

BOOST_AUTO_TEST_SUITE(random_fill, *boost::unit_test::precondition(test::needs_hopper))

BOOST_DATA_TEST_CASE(values_are_those_of_the_sequence, boost::unit_test::data::make({0, 1, 3, 4, 1023, 5'000'001}),
                     count) {
  const auto size = static_cast<std::size_t>(count);
  const test::device_buffer<std::uint16_t> wide(size + 1);
  const test::device_buffer<std::uint8_t> codes(size + 1);
  BOOST_REQUIRE_EQUAL(fill_random_bf16(wide.get(), count, state, step, nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(fill_random_e4m3(codes.get(), count, state, nullptr), cudaSuccess);
  BOOST_REQUIRE_EQUAL(cudaDeviceSynchronize(), cudaSuccess);

  const auto got = wide.host();
  const auto got8 = codes.host();
  bool same = true;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto bits = bits_of(i);
    const auto code = static_cast<std::uint8_t>(bits);
    same &= got[i] == kernels::float_to_bf16(static_cast<std::int16_t>(bits) * step);
    same &= got8[i] == ((code & 0x7f) == 0x7f ? (code & 0xfe) : code);
  }
  BOOST_TEST(same);
  BOOST_TEST(got[size] == 0xFFFF); // nothing past the end
  BOOST_TEST(got8[size] == 0xFF);
}

BOOST_AUTO_TEST_SUITE_END()
