#include "launch/recipe.hpp"

#include "kernels/cpu/isa.hpp"
#include "runtime/exec/cache_dtype.hpp"
#include "runtime/exec/device/plugin.hpp"

#include <yaml-cpp/yaml.h>

#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>

namespace troupe::launch {

namespace {

using setter = std::function<void(const YAML::Node&)>;
using fields = std::map<std::string, setter>;

template <class T>
setter into(T& target) {
  return [&target](const YAML::Node& value) { target = value.as<T>(); };
}

/// Applies every key of `node`. Errors name the key with its path.
result<void> apply(const YAML::Node& node, const fields& known, const std::string& where) {
  const auto bad = [&](std::string message) { return error{errc::bad_input, where + message}; };
  if (!node.IsMap()) return bad("expected keys and values");
  for (const auto& item : node) {
    const auto key = item.first.as<std::string>("");
    const auto field = known.find(key);
    if (field == known.end()) return bad("unknown key \"" + key + "\"");
    try {
      field->second(item.second);
    } catch (const YAML::Exception&) {
      return bad(key + ": cannot read \"" + YAML::Dump(item.second) + "\"");
    }
  }
  return {};
}

/// Calls `read(name, value)` for every role that `node` says something about; the router is none of them.
template <class Read>
result<void> for_each_role(const YAML::Node& node, const recipe& r, const std::string& where, Read read) {
  if (!node.IsMap()) return error{errc::bad_input, where + "expected keys and values"};
  std::set<std::string> known;
  for (const auto& role : company_roles(r.size)) known.insert(role.name);
  for (const auto& item : node) {
    const auto name = item.first.as<std::string>("");
    if (!known.contains(name) || name.starts_with("router"))
      return error{errc::bad_input, where + "unknown role \"" + name + "\""};
    TROUPE_TRY(read(name, item.second));
  }
  return {};
}

/// `{expert_shard-1: {host: 10.0.0.2, command: ssh gpu2}}`
result<void> read_sites(const YAML::Node& node, recipe& r, const std::string& where) {
  return for_each_role(node, r, where, [&](const std::string& name, const YAML::Node& value) -> result<void> {
    auto& site = r.sites[name];
    TROUPE_TRY(apply(value, {{"host", into(site.host)}, {"command", into(site.command)}}, where + name + ": "));
    if (site.host.empty() || site.command.empty())
      return error{errc::bad_input, where + name + ": host and command, or neither"};
    return {};
  });
}

/// `{expert_shard-0: cuda:1}`
result<void> read_devices(const YAML::Node& node, recipe& r, const std::string& where) {
  return for_each_role(node, r, where, [&](const std::string& name, const YAML::Node& value) -> result<void> {
    r.devices[name] = value.as<std::string>("");
    return {};
  });
}

result<void> check(const recipe& r, const std::string& where) {
  const auto bad = [&](const char* message) { return error{errc::bad_input, where + message}; };
  if (r.serving.model_dir.empty()) return bad("model: missing");
  if (r.size.kv_caches < 1 || r.size.kv_caches > 64) return bad("roles.kv_cache: must be 1 to 64");
  if (r.size.expert_shards < 1 || r.size.expert_shards > 1024) return bad("roles.expert_shard: must be 1 to 1024");
  if (r.serving.load_format != "auto" && r.serving.load_format != "safetensors" && r.serving.load_format != "dummy")
    return bad("serving.load_format: must be auto, safetensors or dummy");
  if (r.serving.isa != "auto" && !kernels::isa_from_name(r.serving.isa))
    return bad("serving.isa: must be auto, avx2, avx512_bf16 or amx_bf16");
  if (const auto cache = exec::parse_cache_dtype(r.serving.kv_cache_dtype); !cache)
    return error{errc::bad_input, where + "serving.kv_cache_dtype: " + cache.error().message};
  return {};
}

} // namespace

result<recipe> parse_recipe(const std::string& yaml, const std::filesystem::path& file) {
  recipe r;
  auto& s = r.serving;
  YAML::Node root, roles, serving, sites, devices;
  const std::string where = file.string() + ": ";
  try {
    root = YAML::Load(yaml);
  } catch (const YAML::Exception& e) {
    return error{errc::bad_input, where + e.what()};
  }
  TROUPE_TRY(apply(root,
                   {{"model", into(s.model_dir)},
                    {"host", into(r.front.host)},
                    {"port", into(r.front.port)},
                    {"served_model_name", into(r.front.served_model_name)},
                    {"chat_template", into(r.front.chat_template)},
                    {"drain_timeout_s", into(r.front.drain_timeout_s)},
                    {"roles", into(roles)},
                    {"cluster_host", into(r.cluster_host)},
                    {"sites", into(sites)},
                    {"devices", into(devices)},
                    {"secret_file", into(r.secret_file)},
                    {"spin_rounds", into(r.spin_rounds)},
                    {"progress_cpus", into(r.progress_cpus)},
                    {"serving", into(serving)}},
                   where));
  r.size = {.kv_caches = 1, .expert_shards = 1};
  if (roles.IsDefined() && !roles.IsNull())
    TROUPE_TRY(apply(roles, {{"kv_cache", into(r.size.kv_caches)}, {"expert_shard", into(r.size.expert_shards)}},
                     where + "roles: "));
  if (serving.IsDefined() && !serving.IsNull())
    TROUPE_TRY(apply(serving,
                     {{"load_format", into(s.load_format)},
                      {"device", into(s.device)},
                      {"dtype", into(s.dtype)},
                      {"threads", into(s.threads)},
                      {"max_num_seqs", into(s.max_num_seqs)},
                      {"max_num_batched_tokens", into(s.max_num_batched_tokens)},
                      {"max_model_len", into(s.max_model_len)},
                      {"kv_cache_dtype", into(s.kv_cache_dtype)},
                      {"kv_cache_ratio", into(s.kv_cache_ratio)},
                      {"seed", into(s.seed)},
                      {"speculative", into(s.speculative)},
                      {"deterministic", into(s.deterministic)},
                      {"isa", into(s.isa)}},
                     where + "serving: "));
  TROUPE_TRY(check(r, where));
  if (sites.IsDefined() && !sites.IsNull()) TROUPE_TRY(read_sites(sites, r, where + "sites: "));
  if (devices.IsDefined() && !devices.IsNull()) TROUPE_TRY(read_devices(devices, r, where + "devices: "));
  if (const auto good = check_devices(r); !good) return error{errc::bad_input, where + good.error().message};
  const std::filesystem::path model = s.model_dir;
  if (model.is_relative()) s.model_dir = (file.parent_path() / model).lexically_normal().string();
  return r;
}

result<void> check_devices(const recipe& plan) {
  TROUPE_ASSIGN(const auto usual, exec::parse_device(plan.serving.device));
  for (const auto& [name, text] : plan.devices) {
    const auto device = exec::parse_device(text);
    if (!device) return error{errc::bad_input, "devices: " + name + ": " + device.error().message};
    if (device->kind != usual.kind)
      return error{errc::bad_input, "devices: " + name + ": " + text + ", but all others compute on " + usual.kind +
                                        ", and rows travel in one format"};
  }
  return {};
}

net::carrier_options carrier_options_of(const recipe& plan, std::size_t number) {
  return {.host = plan.cluster_host,
          .secret_file = plan.secret_file,
          .spin_rounds = plan.spin_rounds,
          .progress_cpu = number < plan.progress_cpus.size() ? plan.progress_cpus[number] : -1};
}

result<recipe> load_recipe(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) return error{errc::not_found, file.string() + ": cannot be opened"};
  std::ostringstream text;
  text << in.rdbuf();
  return parse_recipe(text.str(), file);
}

} // namespace troupe::launch
