// troupe status: every role of a running cluster, or one job of `troupe submit`.
#include "launch/verbs/http_client.hpp"
#include "launch/verbs/submit.hpp"
#include "launch/verbs/verbs.hpp"

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include <cstdio>
#include <memory>
#include <string>

namespace troupe::launch {

namespace {

constexpr auto row_format = "%-14s %-16s %-20s %-9s %8s %10s %8s %7s %7s %8s %8s\n";

std::string text(const boost::json::object& role, const char* key) {
  const auto* value = role.if_contains(key);
  if (!value) return "-";
  return value->is_string() ? std::string(value->get_string()) : boost::json::serialize(*value);
}

std::string percent(const boost::json::object& role, const char* key) {
  const auto* value = role.if_contains(key);
  if (!value || !value->is_number()) return "-";
  return std::to_string(static_cast<int>(100 * value->to_number<double>() + 0.5)) + "%";
}

void print(const boost::json::object& status) {
  std::printf(row_format, "NAME", "ROLE", "DEVICE", "STATE", "PID", "STEPS", "AGE_MS", "RUNNING", "WAITING", "KV",
              "RESTARTS");
  for (const auto& item : status.at("roles").as_array()) {
    const auto& role = item.as_object();
    std::printf(row_format, text(role, "name").c_str(), text(role, "role").c_str(), text(role, "device").c_str(),
                text(role, "state").c_str(), text(role, "pid").c_str(), text(role, "steps").c_str(),
                text(role, "step_age_ms").c_str(), text(role, "running").c_str(), text(role, "waiting").c_str(),
                percent(role, "kv_usage").c_str(), text(role, "restarts").c_str());
  }
  std::puts(status.at("ready").as_bool() ? "ready" : "not ready");
}

result<void> print_cluster(const std::string& url, const std::string& api_key, bool as_json) {
  TROUPE_ASSIGN(const auto client, http_client::open(url, api_key));
  TROUPE_ASSIGN(const auto answer, client.get("/status"));
  if (as_json)
    std::puts(boost::json::serialize(answer).c_str());
  else
    print(answer.as_object());
  return {};
}

} // namespace

void add_status(CLI::App& app) {
  struct flags {
    std::string url = "http://127.0.0.1:8000", api_key, job;
    bool json = false;
  };
  auto given = std::make_shared<flags>();
  auto* verb = app.add_subcommand("status", "every role of a running cluster, or one job");
  verb->add_option("job", given->job, "what `troupe submit --detach` has printed");
  verb->add_option("--url", given->url, "of the cluster")->capture_default_str();
  verb->add_option("--api-key", given->api_key, "where the server asks for one")->envname("TROUPE_API_KEY");
  verb->add_flag("--json", given->json, "print the server's answer as it is");
  verb->callback([given] {
    finish(given->job.empty() ? print_cluster(given->url, given->api_key, given->json)
                              : print_job(given->url, given->api_key, given->job));
  });
}

} // namespace troupe::launch
