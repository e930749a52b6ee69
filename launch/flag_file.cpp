#include "launch/flag_file.hpp"

#include <CLI/CLI.hpp>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <istream>
#include <memory>
#include <vector>

namespace troupe::launch {

namespace {

std::vector<std::string> words_of(const YAML::Node& value) {
  return value.IsSequence() ? value.as<std::vector<std::string>>() : std::vector{value.as<std::string>()};
}

class yaml_flags : public CLI::Config {
 public:
  explicit yaml_flags(CLI::App& app) : app_(app) {}

  std::string to_config(const CLI::App*, bool, bool, std::string) const override { return {}; }

  std::vector<CLI::ConfigItem> from_config(std::istream& in) const override {
    std::vector<CLI::ConfigItem> out;
    if (app_.get_subcommands().empty()) return out; // refused later, for want of a verb
    auto& verb = *app_.get_subcommands().front();
    run_positionals(verb);
    try {
      const auto root = YAML::Load(in);
      if (root.IsDefined() && !root.IsNull() && !root.IsMap()) throw CLI::ConfigError("--config: expected flag: value");
      for (const auto& item : root) out.push_back(item_of(verb, item.first.as<std::string>(), item.second));
    } catch (const YAML::Exception& e) {
      throw CLI::ConfigError(std::string("--config: ") + e.what());
    }
    return out;
  }

 private:
  /// CLI11 applies what a file says at once and everything else later, but a recipe has to come before both.
  static void run_positionals(CLI::App& verb) {
    for (auto* option : verb.get_options())
      if (option->get_positional() && option->count() > 0 && !option->get_callback_run()) option->run_callback();
  }

  static CLI::ConfigItem item_of(const CLI::App& verb, std::string key, const YAML::Node& value) {
    std::replace(key.begin(), key.end(), '_', '-');
    if (verb.get_option_no_throw("--" + key) == nullptr)
      throw CLI::ConfigError("--config: " + verb.get_name() + " has no flag --" + key);
    CLI::ConfigItem out;
    out.parents = {verb.get_name()};
    out.inputs = words_of(value);
    out.name = std::move(key);
    return out;
  }

  CLI::App& app_;
};

} // namespace

void read_flags_from_file(CLI::App& app) {
  app.config_formatter(std::make_shared<yaml_flags>(app));
  app.set_config("--config", "", "a file of flags for serve or launch: YAML, one `max-num-seqs: 16` a line");
}

void read_flags_from_elsewhere(CLI::App& verb) {
  verb.fallthrough();
  for (auto* option : verb.get_options())
    if (!option->get_lnames().empty() && option->get_envname().empty() && option != verb.get_help_ptr())
      option->envname(variable_of(option->get_lnames().front()));
}

std::string variable_of(std::string flag) {
  flag.erase(0, flag.find_first_not_of('-'));
  std::transform(flag.begin(), flag.end(), flag.begin(),
                 [](unsigned char c) { return c == '-' ? '_' : std::toupper(c); });
  return "TROUPE_SERVE_" + flag;
}

} // namespace troupe::launch
