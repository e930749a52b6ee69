// One logger (spdlog, stderr). Never logs prompts, tokens or keys above `trace`.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

namespace troupe {

/// Sets level ("trace".."error") and a role name shown in every line. Call once from main.
void init_log(const std::string& level, const std::string& role);
/// The level that init_log() was given.
std::string log_level();

namespace log = spdlog;

} // namespace troupe
