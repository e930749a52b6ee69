// A recipe (YAML) says which roles run where. Command-line flags go over it. examples/recipes/local.yaml shows all
// keys.
#pragma once

#include "actors/serving_options.hpp"
#include "actors/supervisor_core.hpp"
#include "runtime/core/result.hpp"

#include <cstdint>
#include <filesystem>
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
};

struct recipe {
  serving_options serving;
  front_options front;
  company_size size;
};

/// Reads `file`; a relative model path starts at the recipe's folder.
/// Errors: bad_input naming file, key and reason; unknown keys are refused.
result<recipe> load_recipe(const std::filesystem::path& file);
/// The same from text; `file` is for messages and for relative paths.
result<recipe> parse_recipe(const std::string& yaml, const std::filesystem::path& file);

} // namespace troupe::launch
