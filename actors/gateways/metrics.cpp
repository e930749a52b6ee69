#include "actors/gateways/metrics.hpp"

#include "actors/gateways/role_metrics.hpp"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>

namespace troupe {

namespace {

using prometheus::Histogram;

// vLLM's buckets, so that quantiles of both agree.
const Histogram::BucketBoundaries first_token_buckets{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                                      1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640};
const Histogram::BucketBoundaries next_token_buckets{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4,
                                                     0.5,  0.75,  1,    2.5,   5,   7.5,  10,  20,  40};
const Histogram::BucketBoundaries request_buckets{0.3, 0.5, 0.8, 1,  1.5, 2,  2.5, 5,   10,
                                                  15,  20,  30,  40, 50,  60, 120, 240, 480};
const Histogram::BucketBoundaries token_count_buckets{1,   2,    5,    10,   20,    50,    100,   200,
                                                      500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};

} // namespace

struct gateway_metrics::families {
  explicit families(std::string model) : model_name(std::move(model)) {}

  std::string model_name;
  prometheus::Registry registry;

  Histogram& histogram(const std::string& name, const std::string& help, const Histogram::BucketBoundaries& buckets) {
    return prometheus::BuildHistogram()
        .Name("troupe_" + name)
        .Help(help)
        .Register(registry)
        .Add({{"model_name", model_name}}, buckets);
  }
  prometheus::Family<prometheus::Counter>& counters(const std::string& name, const std::string& help) {
    return prometheus::BuildCounter().Name("troupe_" + name).Help(help).Register(registry);
  }

  Histogram& time_to_first_token =
      histogram("time_to_first_token_seconds", "From a request's arrival to its first token.", first_token_buckets);
  Histogram& inter_token_latency =
      histogram("inter_token_latency_seconds", "Between two tokens of an answer.", next_token_buckets);
  Histogram& time_per_output_token =
      histogram("request_time_per_output_token_seconds", "Mean time of the tokens after the first, per answer.",
                next_token_buckets);
  Histogram& e2e_latency = histogram("e2e_request_latency_seconds", "From arrival to the last token.", request_buckets);
  Histogram& queue_time = histogram("request_queue_time_seconds", "From arrival to the first step.", request_buckets);
  Histogram& prefill_time =
      histogram("request_prefill_time_seconds", "From the first step to the first token.", request_buckets);
  Histogram& decode_time =
      histogram("request_decode_time_seconds", "From the first token to the last.", request_buckets);
  Histogram& inference_time =
      histogram("request_inference_time_seconds", "From the first step to the last token.", request_buckets);
  Histogram& prompt_tokens_histogram =
      histogram("request_prompt_tokens", "Prompt tokens of a request.", token_count_buckets);
  Histogram& generation_tokens_histogram =
      histogram("request_generation_tokens", "Tokens of an answer.", token_count_buckets);
  prometheus::Counter& prompt_tokens =
      counters("prompt_tokens_total", "Prompt tokens of finished requests.").Add({{"model_name", model_name}});
  prometheus::Counter& generation_tokens =
      counters("generation_tokens_total", "Tokens given to clients.").Add({{"model_name", model_name}});
  prometheus::Family<prometheus::Counter>& finished = counters("request_success_total", "Finished requests by reason.");
  prometheus::Family<prometheus::Counter>& rejected =
      counters("admission_rejections_total", "Completions refused before they began, by code.");
};

gateway_metrics::gateway_metrics(const std::string& model_name) : families_(std::make_unique<families>(model_name)) {}

gateway_metrics::~gateway_metrics() = default;

void gateway_metrics::on_first_token(double since_arrival_s) {
  families_->time_to_first_token.Observe(since_arrival_s);
  families_->generation_tokens.Increment();
}

void gateway_metrics::on_next_token(double since_last_s) {
  families_->inter_token_latency.Observe(since_last_s);
  families_->generation_tokens.Increment();
}

void gateway_metrics::on_finished(const request_summary& summary) {
  auto& f = *families_;
  f.finished.Add({{"model_name", f.model_name}, {"finished_reason", summary.finished_reason}}).Increment();
  f.prompt_tokens.Increment(static_cast<double>(summary.prompt_tokens));
  f.e2e_latency.Observe(summary.e2e_s);
  f.prompt_tokens_histogram.Observe(static_cast<double>(summary.prompt_tokens));
  f.generation_tokens_histogram.Observe(static_cast<double>(summary.generation_tokens));
  if (summary.time_to_first_token_s > 0) {
    const auto prefill_s = std::max(0.0, summary.time_to_first_token_s - summary.queue_s);
    f.queue_time.Observe(summary.queue_s);
    f.prefill_time.Observe(prefill_s);
    f.decode_time.Observe(summary.decode_s);
    f.inference_time.Observe(prefill_s + summary.decode_s);
  }
  if (summary.generation_tokens > 1)
    f.time_per_output_token.Observe((summary.e2e_s - summary.time_to_first_token_s) /
                                    static_cast<double>(summary.generation_tokens - 1));
}

void gateway_metrics::on_rejected(const std::string& code) {
  families_->rejected.Add({{"model_name", families_->model_name}, {"code", code}}).Increment();
}

std::string gateway_metrics::text(const cluster_status& cluster) {
  auto all = families_->registry.Collect();
  for (auto& family : role_families(cluster, families_->model_name)) all.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(all);
}

} // namespace troupe
