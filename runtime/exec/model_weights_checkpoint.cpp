#include "runtime/exec/model_weights.hpp"
#include "runtime/model/matrix_source.hpp"

namespace troupe::exec {

std::optional<kernels::tensor_type> checkpoint_weights::type_of(const std::string& name) const {
  return model::type_of(tensors_, name);
}

result<stored_matrix> checkpoint_weights::matrix(const std::string& name, std::int64_t rows, std::int64_t cols) {
  TROUPE_ASSIGN(const auto view, model::load_matrix(tensors_, config_, name, rows, cols));
  return stored_matrix{view, nullptr};
}

result<std::vector<float>> checkpoint_weights::vector(const std::string& name, std::int64_t size) {
  return model::load_vector(tensors_, name, size);
}

result<void> checkpoint_weights::check(const model::weight_plan& plan) const {
  TROUPE_TRY(model::check_plan(plan, tensors_, config_));
  return {};
}

result<void> checkpoint_weights::keep(const model::weight_plan& plan) {
  return model::keep_plan(plan, tensors_, config_);
}

} // namespace troupe::exec
