#include "runtime/core/log.hpp"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace troupe {

void init_log(const std::string& level, const std::string& role) {
  auto logger = spdlog::stderr_color_mt(role);
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ [%n] %v");
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

std::string log_level() {
  const auto name = spdlog::level::to_string_view(spdlog::get_level());
  return {name.data(), name.size()};
}

} // namespace troupe
