#include "runtime/exec/expert_client.hpp"

namespace troupe::exec {

result<void> expert_client::start_mapped(const mapped_batch&) {
  return error{errc::unsupported, "these experts do not map device memory"};
}

result<mapped_outputs> expert_client::finish_mapped() {
  return error{errc::unsupported, "these experts do not map device memory"};
}

result<device_segment> expert_engine::run_mapped(const mapped_batch&, std::uint64_t) {
  return error{errc::unsupported, "this device does not map another's memory"};
}

} // namespace troupe::exec
