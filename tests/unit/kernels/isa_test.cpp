#include "kernels/cpu/isa.hpp"

#include <boost/test/unit_test.hpp>

using namespace troupe::kernels;

BOOST_AUTO_TEST_SUITE(isa)

BOOST_AUTO_TEST_CASE(names_read_back) {
  for (const auto set : {troupe::kernels::isa::avx2, troupe::kernels::isa::avx512_bf16, troupe::kernels::isa::amx_bf16})
    BOOST_TEST((isa_from_name(name_of(set)) == set));
  BOOST_TEST(!isa_from_name("sse9"));
}

BOOST_AUTO_TEST_CASE(the_best_set_is_a_supported_one) {
  const auto best = best_isa();
  BOOST_TEST(best.has_value() == !supported_isas().empty());
  if (best) BOOST_TEST(supported(*best));
}

BOOST_AUTO_TEST_SUITE_END()
