// A folder of shards is one set of tensors; what is missing, doubled or of another shape is named with its file.
#include "runtime/model/checkpoint.hpp"
#include "tests/support/safetensors_image.hpp"
#include "tests/support/temp_dir.hpp"

#include <boost/test/unit_test.hpp>

#include <array>

using namespace troupe;

using shape = std::array<std::int64_t, 1>;

namespace {

constexpr std::string_view index_name = "model.safetensors.index.json";

std::string one_tensor(std::string_view name) {
  return test::safetensors_image().add<float>(name, "F32", {2}, {1, 2}).file();
}

std::string message_of(const test::temp_dir& dir) {
  const auto opened = model::checkpoint::open(dir.path());
  BOOST_REQUIRE(!opened);
  return opened.error().message;
}

std::string in(const test::temp_dir& dir, std::string_view file) { return (dir.path() / file).string() + ": "; }

} // namespace

BOOST_AUTO_TEST_SUITE(checkpoint)

BOOST_AUTO_TEST_CASE(opens_a_single_file) {
  const test::temp_dir dir;
  dir.write("model.safetensors", one_tensor("a"));

  auto opened = model::checkpoint::open(dir.path());

  BOOST_REQUIRE(opened);
  const auto moved = std::move(*opened); // views stay valid
  const auto* a = moved.find("a");
  BOOST_REQUIRE(a);
  BOOST_TEST((a->type == kernels::tensor_type::f32));
  BOOST_TEST(a->bytes.size() == 8u);
  BOOST_TEST(a->file == (dir.path() / "model.safetensors").string());
  BOOST_TEST(moved.find("b") == nullptr);
  BOOST_TEST(moved.require("a", shape{2}).has_value());
}

BOOST_AUTO_TEST_CASE(joins_the_shards_of_an_index) {
  const test::temp_dir dir;
  dir.write("x.safetensors", one_tensor("b"));
  dir.write("y.safetensors", one_tensor("a"));
  dir.write(index_name,
            R"({"metadata": {"total_size": 1}, "weight_map": {"a": "y.safetensors", "b": "x.safetensors"}})");

  const auto opened = model::checkpoint::open(dir.path());

  BOOST_REQUIRE(opened);
  BOOST_TEST(opened->tensor_count() == 2u);
  BOOST_TEST(opened->names() == (std::vector<std::string>{"a", "b"}), boost::test_tools::per_element());
  BOOST_TEST(opened->find("a")->file == (dir.path() / "y.safetensors").string());
}

BOOST_AUTO_TEST_CASE(says_what_is_wrong_with_a_required_tensor) {
  const test::temp_dir dir;
  dir.write(
      "model.safetensors",
      test::safetensors_image().add<float>("a", "F32", {2}, {1, 2}).add<std::int64_t>("ids", "I64", {1}, {1}).file());
  const auto opened = model::checkpoint::open(dir.path()).value();
  const auto message = [&](std::string_view name, std::span<const std::int64_t> expected) {
    return opened.require(name, expected).error().message;
  };
  const auto file = in(dir, "model.safetensors");

  BOOST_TEST(message("a", shape{3}) == file + "a: has shape [2], expected [3]");
  BOOST_TEST(message("a", std::array<std::int64_t, 2>{2, 1}) == file + "a: has shape [2], expected [2, 1]");
  BOOST_TEST(message("ids", shape{1}) == file + "ids: dtype I64 is not supported here");
  BOOST_TEST(message("none", shape{1}) == dir.path().string() + ": none: is missing");
  BOOST_TEST(opened.find("ids") == nullptr);
}

BOOST_AUTO_TEST_CASE(refuses_folders_without_whole_files) {
  const test::temp_dir dir;
  BOOST_TEST((model::checkpoint::open(dir.path()).error().code == errc::not_found));
  BOOST_TEST(message_of(dir) == in(dir, "model.safetensors") + "No such file or directory");
  const auto whole = one_tensor("a");

  dir.write("model.safetensors", std::string_view(whole).substr(0, whole.size() - 1));
  BOOST_TEST(message_of(dir) == in(dir, "model.safetensors") + "a: ends at byte 8 of 7; is the file truncated?");
  dir.write("model.safetensors", "");
  BOOST_TEST(message_of(dir) == in(dir, "model.safetensors") + "header: the file has 0 bytes, at least 8 are needed");
  std::filesystem::remove(dir.path() / "model.safetensors");
  std::filesystem::create_directory(dir.path() / "model.safetensors");
  BOOST_TEST(message_of(dir) == in(dir, "model.safetensors") + "not a regular file");
}

BOOST_AUTO_TEST_CASE(refuses_tensors_that_are_not_where_the_index_says) {
  const test::temp_dir dir;
  dir.write("x.safetensors", one_tensor("a"));
  dir.write("y.safetensors", one_tensor("b"));
  dir.write(index_name, R"({"weight_map": {"a": "x.safetensors", "c": "y.safetensors"}})");
  BOOST_TEST(message_of(dir) == in(dir, "y.safetensors") + "c: is missing, though the index places it here");
  dir.write(index_name, R"({"weight_map": {"a": "y.safetensors", "b": "x.safetensors"}})");
  BOOST_TEST(message_of(dir) == in(dir, "x.safetensors") + "b: is missing, though the index places it here");
  dir.write(index_name, R"({"weight_map": {"a": "x.safetensors", "b": "z.safetensors"}})");
  BOOST_TEST(message_of(dir) == in(dir, "z.safetensors") + "No such file or directory");
}

BOOST_AUTO_TEST_CASE(refuses_a_name_in_two_shards) {
  const test::temp_dir dir;
  dir.write("x.safetensors", one_tensor("a"));
  dir.write("y.safetensors", one_tensor("a"));
  dir.write(index_name, R"({"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}})");

  BOOST_TEST(message_of(dir) == in(dir, "y.safetensors") + "a: is also in " + (dir.path() / "x.safetensors").string());
}

BOOST_AUTO_TEST_CASE(refuses_indexes_that_reach_out_of_the_folder) {
  const test::temp_dir dir;
  for (const auto* shard : {"../x.safetensors", "/etc/passwd", "..", ".", "", "a\\\\b", "x\\u0000y"}) {
    dir.write(index_name, "{\"weight_map\": {\"a\": \"" + std::string(shard) + "\"}}");
    BOOST_TEST(message_of(dir) == in(dir, index_name) + "a: must name a shard file in the same folder");
  }
}

BOOST_AUTO_TEST_CASE(refuses_indexes_of_another_form) {
  const test::temp_dir dir;
  const auto message = [&](std::string_view index) {
    dir.write(index_name, index);
    return message_of(dir);
  };

  BOOST_TEST(message("{") == in(dir, index_name) + "not JSON: incomplete JSON");
  BOOST_TEST(message("{}") == in(dir, index_name) + "weight_map: must be an object");
  BOOST_TEST(message(R"({"weight_map": {}})") == in(dir, index_name) + "weight_map: names no tensor");
  BOOST_TEST(message(R"({"weight_map": {"a": 1}})") ==
             in(dir, index_name) + "a: must name a shard file in the same folder");
}

BOOST_AUTO_TEST_SUITE_END()
