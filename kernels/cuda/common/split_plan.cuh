// How the pages of one request are divided among the splits of mla_decode.
#pragma once

#include "kernels/cuda/mla_decode.hpp"

namespace troupe::cuda {

struct split_plan {
  int pages_each, count; ///< of this request
  __device__ split_plan(const mla_decode_args& args, int length) {
    const int pages = (length + mla_page - 1) / mla_page;
    pages_each = args.by_length ? mla_pages_per_split(pages) : (args.table_pages + args.splits - 1) / args.splits;
    count = args.by_length ? (pages + pages_each - 1) / pages_each : args.splits;
  }
};

} // namespace troupe::cuda
