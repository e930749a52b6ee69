#include "kernels/cpu/row_loops.hpp"

namespace troupe::kernels {

const row_kernels detail::rows_avx2 = row_kernels_of_this_file;

} // namespace troupe::kernels
