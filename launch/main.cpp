// The one binary. Every verb lives in launch/verbs; reading its file shows what is composed and how.
#include "launch/flag_file.hpp"
#include "launch/verbs/verbs.hpp"
#include "runtime/core/log.hpp"
#include "runtime/model/bus_error.hpp"

#include <CLI/CLI.hpp>

#include <csignal>
#include <exception>
#include <string>

int main(int argc, char** argv) {
  CLI::App app{"Troupe serves DeepSeek-R1-class mixture-of-experts models from a company of actors."};
  app.footer("Start with:  troupe launch examples/recipes/local.yaml     then:  troupe chat \"What is 4821 + 3979?\"");
  app.set_version_flag("--version", TROUPE_VERSION);
  app.require_subcommand(1);
  std::string log_level = "info";
  app.add_option("--log-level", log_level, "trace, debug, info, warn or error")->capture_default_str();
  app.parse_complete_callback([&] { troupe::init_log(log_level, "troupe"); });

  std::signal(SIGPIPE, SIG_IGN); // a client that goes away is an error of its socket
  troupe::model::explain_bus_errors();
  troupe::launch::add_serve(app);
  troupe::launch::add_launch(app);
  troupe::launch::add_role(app);
  troupe::launch::add_status(app);
  troupe::launch::add_chat(app);
  troupe::launch::add_submit(app);
  troupe::launch::add_bench(app);
  troupe::launch::add_plan(app);
  troupe::launch::read_flags_from_file(app);
  try {
    CLI11_PARSE(app, argc, argv);
  } catch (const std::exception& e) {
    troupe::log::error("{}", e.what());
    return 1;
  }
}
