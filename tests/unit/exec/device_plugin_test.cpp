// What the loader of device plug-ins says when something is not as it should be, and how the flag is read.
#include "runtime/exec/device/plugin.hpp"
#include "tests/support/temp_dir.hpp"

#include <boost/test/unit_test.hpp>
#include <fstream>

using namespace troupe;
using namespace troupe::exec;

namespace {

std::string refusal(const std::filesystem::path& library) {
  const auto loaded = load_plugin("cuda", std::vector{library});
  BOOST_REQUIRE(!loaded);
  BOOST_TEST((loaded.error().code == errc::unsupported));
  BOOST_TEST(loaded.error().message.find('\n') == std::string::npos);
  return loaded.error().message;
}

} // namespace

BOOST_AUTO_TEST_SUITE(device_plugin)

BOOST_AUTO_TEST_CASE(a_device_is_a_kind_and_maybe_a_number) {
  BOOST_TEST(parse_device("cpu").value().kind == "cpu");
  BOOST_TEST(parse_device("cuda").value().index == -1);
  BOOST_TEST(parse_device("cuda:12").value().index == 12);
  for (const auto* bad : {"", "gpu", "cpu:0", "cuda:", "cuda:-1", "cuda:1x", "cuda:99999999999"}) {
    const auto choice = parse_device(bad);
    BOOST_REQUIRE(!choice);
    BOOST_TEST((choice.error().code == errc::bad_input));
    BOOST_TEST(choice.error().message.find("cpu, cuda, or cuda:N") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(the_named_folder_comes_before_the_binarys) {
  const auto paths = plugin_paths("cuda", "/opt/plug", "/usr/bin");
  BOOST_REQUIRE_EQUAL(paths.size(), 3u);
  BOOST_TEST(paths[0] == "/opt/plug/libtroupe_cuda.so");
  BOOST_TEST(paths[1] == "/usr/bin/libtroupe_cuda.so");
  BOOST_TEST(paths[2] == "/usr/lib/libtroupe_cuda.so");
  BOOST_TEST(plugin_paths("cuda", "", "/b").front() == "/b/libtroupe_cuda.so");
}

BOOST_AUTO_TEST_CASE(a_missing_library_is_one_line_that_says_where_and_what_to_do) {
  const auto line = refusal("/nowhere/libtroupe_cuda.so");
  for (const auto* part :
       {"device cuda", "/nowhere/libtroupe_cuda.so", "--preset gpu", "TROUPE_PLUGIN_DIR", "--device cpu"})
    BOOST_TEST(line.find(part) != std::string::npos, line);
}

BOOST_AUTO_TEST_CASE(a_file_that_is_no_library_is_refused_by_name) {
  const test::temp_dir dir;
  const auto file = dir.path() / "libtroupe_cuda.so";
  std::ofstream(file) << "not a library";
  BOOST_TEST(refusal(file).find(file.string()) != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_library_of_something_else_is_no_plugin) {
  BOOST_TEST(refusal(std::filesystem::canonical("/lib/x86_64-linux-gnu/libm.so.6")).find("is no Troupe plug-in") !=
             std::string::npos);
}

BOOST_AUTO_TEST_CASE(another_interface_number_is_refused_with_both_numbers) {
  const plugin_entry old{plugin_abi + 7, nullptr};
  const auto checked = check_entry(&old, "/p/libtroupe_cuda.so");
  BOOST_REQUIRE(!checked);
  BOOST_TEST((checked.error().code == errc::unsupported));
  BOOST_TEST(checked.error().message.find(std::to_string(plugin_abi + 7)) != std::string::npos);
  const plugin_entry same{plugin_abi, nullptr};
  BOOST_TEST(check_entry(&same, "").has_value());
}

BOOST_AUTO_TEST_SUITE_END()
