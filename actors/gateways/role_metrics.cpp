#include "actors/gateways/role_metrics.hpp"

#include "runtime/core/limits.hpp"

#include <limits>
#include <utility>

namespace troupe {

namespace {

using labels = std::vector<prometheus::ClientMetric::Label>;

/// What the roles count, made for one answer of /metrics: clusters change, so it is not kept.
class families_of_roles {
 public:
  explicit families_of_roles(const std::string& model_name) : model_name_(model_name) {}

  void add_role(const role_status& role) {
    if (role.role == "kv_cache") add_kv_cache(role);
    add(ready_, role.state == "ready" ? 1 : 0, {{"role", role.name}});
    add(steps_, static_cast<double>(role.steps), {{"role", role.name}});
    add(restarts_, role.restarts, {{"role", role.name}});
  }

  std::vector<prometheus::MetricFamily> take() {
    std::vector<prometheus::MetricFamily> all;
    for (auto* family : {&running_, &waiting_, &usage_, &cache_, &preemptions_, &step_rows_, &drafts_, &accepted_,
                         &ready_, &steps_, &restarts_})
      if (!family->metric.empty()) all.push_back(std::move(*family));
    return all;
  }

 private:
  using family = prometheus::MetricFamily;
  using type = prometheus::MetricType;

  void add_kv_cache(const role_status& role) {
    const labels engine{{"model_name", model_name_}, {"engine", role.name}};
    add(running_, role.running, engine);
    add(waiting_, role.waiting, engine);
    add(usage_, role.kv_usage, engine);
    add(preemptions_, static_cast<double>(role.preemptions), engine);
    add(drafts_, static_cast<double>(role.drafts_proposed), engine);
    add(accepted_, static_cast<double>(role.drafts_accepted), engine);
    add_histogram(role.step_rows, engine);
    auto config = engine;
    config.push_back({"block_size", std::to_string(limits::page_tokens)});
    config.push_back({"num_gpu_blocks", std::to_string(role.pages)});
    add(cache_, 1, std::move(config));
  }

  static void add(family& to, double value, labels of) {
    prometheus::ClientMetric metric;
    metric.label = std::move(of);
    metric.gauge.value = metric.counter.value = value;
    to.metric.push_back(std::move(metric));
  }

  void add_histogram(const step_histogram& counted, labels of) {
    constexpr auto& bounds = step_histogram::bounds;
    if (counted.steps.size() != bounds.size() + 1) return; // of a role that has not reported yet, or of another build
    prometheus::ClientMetric metric;
    metric.label = std::move(of);
    auto& out = metric.histogram;
    for (std::size_t i = 0; i < counted.steps.size(); ++i) {
      out.sample_count += counted.steps[i];
      const double bound = i < bounds.size() ? bounds[i] : std::numeric_limits<double>::infinity();
      out.bucket.push_back({out.sample_count, bound});
    }
    out.sample_sum = static_cast<double>(counted.rows);
    step_rows_.metric.push_back(std::move(metric));
  }

  const std::string& model_name_;
  family running_{"troupe_num_requests_running", "Requests in the batch.", type::Gauge, {}};
  family waiting_{"troupe_num_requests_waiting", "Requests waiting for a place in the batch.", type::Gauge, {}};
  family usage_{"troupe_kv_cache_usage_perc", "Pages in use, 1 means all.", type::Gauge, {}};
  family cache_{"troupe_cache_config_info", "Tokens in a page, and pages; always 1.", type::Gauge, {}};
  family preemptions_{"troupe_num_preemptions_total", "Requests that gave their pages to others.", type::Counter, {}};
  family step_rows_{"troupe_iteration_tokens_total", "Rows of a step.", type::Histogram, {}};
  family drafts_{"troupe_spec_decode_num_draft_tokens_total", "Tokens drafted by the MTP module.", type::Counter, {}};
  family accepted_{"troupe_spec_decode_num_accepted_tokens_total", "Drafts that were right.", type::Counter, {}};
  family ready_{"troupe_role_ready", "1 if the role serves.", type::Gauge, {}};
  family steps_{"troupe_role_steps_total", "Progress counter of the role.", type::Counter, {}};
  family restarts_{"troupe_role_restarts_total", "Times the role's process was replaced.", type::Counter, {}};
};

} // namespace

std::vector<prometheus::MetricFamily> role_families(const cluster_status& cluster, const std::string& model_name) {
  families_of_roles families(model_name);
  for (const auto& role : cluster.roles) families.add_role(role);
  return families.take();
}

} // namespace troupe
