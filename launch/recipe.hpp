// A recipe (YAML) says which roles run where. Command-line flags go over it. examples/recipes/local.yaml shows all
// keys.
#pragma once

#include "actors/serving_options.hpp"
#include "actors/supervisor_core.hpp"
#include "runtime/core/result.hpp"
#include "runtime/net/carrier.hpp"

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace troupe::launch {

struct front_options {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8000;
  std::string served_model_name;     ///< empty: the name of the model's folder
  std::string chat_template;         ///< "r1", "r1-0528", "v3"; empty: recognised from the checkpoint
  std::vector<std::string> api_keys; ///< empty: nobody is asked for one. Never in a recipe: files are shared
  bool any_interface = false;        ///< allows 0.0.0.0 and ::
  std::int32_t drain_timeout_s =
      static_cast<std::int32_t>(limits::drain_timeout.count() / 1000); ///< for running requests
};

/// Where a role runs that does not run on this host.
struct role_site {
  std::string host;    ///< the interface it listens at; the others reach it there
  std::string command; ///< words that start a program there: "ssh gpu2", "ip netns exec blue"
};

struct recipe {
  serving_options serving;
  front_options front;
  company_size size;
  std::string cluster_host = "127.0.0.1";               ///< where the roles reach this process
  std::map<std::string, role_site> sites;               ///< [name of the role]; all others run here
  std::map<std::string, std::string> devices;           ///< [name of the role]; all others take serving.device
  std::string secret_file;                              ///< of the cluster; empty: as net/secret.hpp says
  int spin_rounds = net::carrier_options{}.spin_rounds; ///< of every process's progress thread
  std::vector<int> progress_cpus; ///< process 0's progress thread is pinned to the first, those of the roles of this
                                  ///< host to the next, in the order of company_roles(); the rest is not pinned
};

/// All roles compute on one kind of device. Errors: bad_input, naming role and device.
result<void> check_devices(const recipe& plan);

/// How process `number` of this host listens: 0 is the router's.
net::carrier_options carrier_options_of(const recipe& plan, std::size_t number);

/// Reads `file`; a relative model path starts at the recipe's folder.
/// Errors: bad_input naming file, key and reason; unknown keys are refused.
result<recipe> load_recipe(const std::filesystem::path& file);
/// The same from text; `file` is for messages and for relative paths.
result<recipe> parse_recipe(const std::string& yaml, const std::filesystem::path& file);

} // namespace troupe::launch
