// Files under tests/golden and data that may be absent.
#pragma once

#include <boost/json.hpp>
#include <boost/test/unit_test.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace troupe::test {

inline std::filesystem::path golden_path(const std::string& name) {
  return std::filesystem::path(TROUPE_SOURCE_DIR) / "tests/golden" / name;
}

inline boost::json::value golden_json(const std::string& name) {
  std::ifstream in(golden_path(name), std::ios::binary);
  return boost::json::parse(std::string(std::istreambuf_iterator<char>(in), {}));
}

/// Precondition of tests that need the folder which an environment variable names.
struct folder_given {
  const char* variable;

  std::filesystem::path path() const {
    const char* value = std::getenv(variable);
    return value ? value : "";
  }
  boost::test_tools::assertion_result operator()(boost::unit_test::test_unit_id) const {
    boost::test_tools::assertion_result given = std::filesystem::is_directory(path());
    given.message() << variable << " names no folder; the test is skipped";
    return given;
  }
};

} // namespace troupe::test
