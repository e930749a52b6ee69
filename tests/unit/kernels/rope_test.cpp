#include "kernels/cpu/rope.hpp"
#include "kernels/ref/attention.hpp"
#include "tests/unit/kernels/support.hpp"

using namespace troupe::kernels;
using namespace troupe::kernels::test;

namespace {

rope_config r1_config() {
  yarn_scaling yarn;
  yarn.factor = 40;
  yarn.mscale = yarn.mscale_all_dim = 1;
  rope_config c;
  c.yarn = yarn;
  return c;
}

} // namespace

BOOST_AUTO_TEST_SUITE(rope)

// model-spec.md 5.1, computed there in double.
BOOST_AUTO_TEST_CASE(yarn_frequencies_match_the_golden_values) {
  const std::vector<double> golden{1.0,
                                   7.498942093e-1,
                                   5.623413252e-1,
                                   4.216965034e-1,
                                   3.162277660e-1,
                                   2.371373706e-1,
                                   1.778279410e-1,
                                   1.333521432e-1,
                                   1.0e-1,
                                   7.498942093e-2,
                                   5.623413252e-2,
                                   3.900692657e-2,
                                   2.687936011e-2,
                                   1.837814622e-2,
                                   1.244795587e-2,
                                   8.334508951e-3,
                                   5.5e-3,
                                   3.561997494e-3,
                                   2.249365301e-3,
                                   1.370513636e-3,
                                   7.905694150e-4,
                                   4.149903985e-4,
                                   1.778279410e-4,
                                   3.333803580e-5,
                                   2.5e-5,
                                   1.874735523e-5,
                                   1.405853313e-5,
                                   1.054241259e-5,
                                   7.905694150e-6,
                                   5.928434264e-6,
                                   4.445698525e-6,
                                   3.333803580e-6};
  const troupe::kernels::rope r(r1_config());

  BOOST_REQUIRE(r.inverse_frequencies().size() == golden.size());
  for (std::size_t i = 0; i < golden.size(); ++i)
    BOOST_TEST(r.inverse_frequencies()[i] == golden[i], boost::test_tools::tolerance(1e-6));
}

BOOST_AUTO_TEST_CASE(mscale_enters_the_softmax_scale_and_cancels_in_the_angles) {
  BOOST_TEST(softmax_scale(r1_config(), 192) == 0.1352337788608801f, boost::test_tools::tolerance(1e-6f));
  auto lite = r1_config();
  lite.yarn->mscale = lite.yarn->mscale_all_dim = 0.707f;
  BOOST_TEST(softmax_scale(lite, 192) == 0.1147213867929261f, boost::test_tools::tolerance(1e-6f));
  BOOST_TEST(softmax_scale(rope_config{}, 192) == 0.07216878365f, boost::test_tools::tolerance(1e-6f));

  float cos[32], sin[32];
  troupe::kernels::rope(r1_config()).angles(0, cos, sin);
  BOOST_TEST(cos[5] == 1.0f);
  auto plain = r1_config();
  plain.yarn->mscale = plain.yarn->mscale_all_dim = 0;
  troupe::kernels::rope(plain).angles(0, cos, sin);
  BOOST_TEST(cos[5] == 1.3688879454f, boost::test_tools::tolerance(1e-6f)); // g(40, 1)
}

BOOST_AUTO_TEST_CASE(rotates_pairs_as_complex_numbers) {
  random_source random;
  const troupe::kernels::rope r(r1_config());
  const std::vector<double> frequencies(r.inverse_frequencies().begin(), r.inverse_frequencies().end());
  for (const std::int64_t position : {0, 1, 63, 4095}) {
    auto x = random.normals(64);
    const auto want = ref::rotate(as_doubles(x), frequencies, static_cast<double>(position));
    float cos[32], sin[32];

    r.angles(position, cos, sin);
    r.rotate(x.data(), cos, sin);

    BOOST_TEST(largest_error(x.data(), want, 1) < 1e-3); // angles are float32 products, as in transformers
  }
}

BOOST_AUTO_TEST_CASE(half_split_is_the_interleaved_form_permuted) {
  random_source random;
  auto split_config = r1_config();
  split_config.interleaved = false;
  const troupe::kernels::rope interleaved(r1_config()), split(split_config);
  auto pairs = random.normals(64);
  std::vector<float> halves(64);
  for (int i = 0; i < 32; ++i) halves[i] = pairs[2 * i], halves[i + 32] = pairs[2 * i + 1];
  float cos[32], sin[32];
  interleaved.angles(77, cos, sin);

  interleaved.rotate(pairs.data(), cos, sin);
  split.rotate(halves.data(), cos, sin);

  for (int i = 0; i < 32; ++i) BOOST_TEST((halves[i] == pairs[2 * i] && halves[i + 32] == pairs[2 * i + 1]));
}

BOOST_AUTO_TEST_SUITE_END()
