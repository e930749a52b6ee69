// Matrices come with their scales from either layout of the experts, and a wrong one is refused by name.
#include "runtime/model/matrix_source.hpp"
#include "tests/support/safetensors_image.hpp"
#include "tests/support/seed.hpp"
#include "tests/support/temp_dir.hpp"

#include <boost/test/unit_test.hpp>

#include <random>

using namespace troupe;

namespace {

struct fixture {
  test::temp_dir dir;
  test::safetensors_image image;
  model::model_config config;

  fixture() {
    config.weight_block_rows = 2;
    config.weight_block_cols = 4;
    config.expert_count = 2;
  }
  model::checkpoint open() const {
    dir.write("model.safetensors", image.file());
    return model::checkpoint::open(dir.path()).value();
  }
  std::string file() const { return (dir.path() / "model.safetensors").string() + ": "; }
  std::string refusal(std::string_view name, std::int64_t rows, std::int64_t cols) const {
    return model::load_matrix(open(), config, name, rows, cols).error().message;
  }
};

std::vector<std::uint8_t> random_bytes(std::mt19937_64& random, std::size_t count) {
  std::vector<std::uint8_t> bytes(count);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random() % 0x7f); // no NaN
  return bytes;
}

std::vector<float> random_scales(std::mt19937_64& random, std::size_t count) {
  std::vector<float> scales(count);
  for (auto& scale : scales) scale = std::uniform_real_distribution<float>(0.5, 2)(random);
  return scales;
}

std::vector<float> dequantized(const kernels::weight_view& w) {
  std::vector<float> values(static_cast<std::size_t>(w.rows * w.cols));
  for (std::int64_t row = 0; row < w.rows; ++row) kernels::dequantize_row(w, row, values.data() + row * w.cols);
  return values;
}

const std::string expert = "model.layers.1.mlp.experts.1.";
const std::string fused = "model.layers.1.mlp.experts.";

} // namespace

BOOST_FIXTURE_TEST_SUITE(matrix_source, fixture)

BOOST_AUTO_TEST_CASE(multiplies_fp8_blocks_by_their_scales_up_to_the_edges) {
  image.add<std::uint8_t>("pad", "U8", {1}, {0}); // everything after it is unaligned
  image.add<std::uint8_t>("w", "F8_E4M3", {3, 5}, std::vector<std::uint8_t>(15, 0x38)); // ones
  image.add<float>("w_scale_inv", "F32", {2, 2}, {1, 2, 3, 4});
  const auto from = open();

  const auto w = model::load_matrix(from, config, "w", 3, 5).value();

  const std::vector<float> expected{1, 1, 1, 1, 2, 1, 1, 1, 1, 2, 3, 3, 3, 3, 4};
  BOOST_TEST(dequantized(w) == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(decides_about_scales_by_the_dtype_of_each_tensor) {
  image.add<std::uint16_t>("w", "BF16", {1, 2}, {0x3f80, 0x4000});
  image.add<float>("w_scale_inv", "F32", {1, 1}, {7});
  const auto from = open();

  const auto w = model::load_matrix(from, config, "w", 1, 2).value();

  BOOST_TEST(dequantized(w) == (std::vector<float>{1, 2}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(finds_the_same_expert_in_both_layouts) {
  TROUPE_RANDOM(random);
  constexpr std::int64_t width = 4, hidden = 6; // gate_up [2, 8, 6], down [2, 6, 4]
  const auto gate_up = random_bytes(random, 2 * 2 * width * hidden), down = random_bytes(random, 2 * hidden * width);
  const auto gate_up_scales = random_scales(random, 2 * 4 * 2), down_scales = random_scales(random, 2 * 3 * 1);
  image.add("model.layers.1.mlp.experts.gate_up_proj", "F8_E4M3", {2, 2 * width, hidden}, gate_up);
  image.add("model.layers.1.mlp.experts.gate_up_proj_scale_inv", "F32", {2, 4, 2}, gate_up_scales);
  image.add("model.layers.1.mlp.experts.down_proj", "F8_E4M3", {2, hidden, width}, down);
  image.add("model.layers.1.mlp.experts.down_proj_scale_inv", "F32", {2, 3, 1}, down_scales);
  const auto cut = [](const auto& all, std::size_t parts, std::size_t part) {
    const auto size = all.size() / parts;
    return std::decay_t<decltype(all)>(all.begin() + part * size, all.begin() + (part + 1) * size);
  };
  fixture single; // expert 1: parts 2 (gate) and 3 (up) of four
  const auto add = [&](const std::string& name, std::int64_t rows, std::int64_t cols, const auto& bytes,
                       const auto& scales) {
    single.image.add(expert + name, "F8_E4M3", {rows, cols}, bytes);
    single.image.add(expert + name + "_scale_inv", "F32", {rows / 2, (cols + 3) / 4}, scales);
  };
  add("gate_proj.weight", width, hidden, cut(gate_up, 4, 2), cut(gate_up_scales, 4, 2));
  add("up_proj.weight", width, hidden, cut(gate_up, 4, 3), cut(gate_up_scales, 4, 3));
  add("down_proj.weight", hidden, width, cut(down, 2, 1), cut(down_scales, 2, 1));
  const auto one = open(), other = single.open();

  for (const auto* name : {"gate_proj.weight", "up_proj.weight", "down_proj.weight"}) {
    const auto rows = name[0] == 'd' ? hidden : width, cols = name[0] == 'd' ? width : hidden;
    const auto a = model::load_matrix(one, config, expert + name, rows, cols).value();
    const auto b = model::load_matrix(other, config, expert + name, rows, cols).value();
    BOOST_TEST(dequantized(a) == dequantized(b), boost::test_tools::per_element());
    BOOST_TEST((model::type_of(one, expert + name) == kernels::tensor_type::f8_e4m3));
  }
}

BOOST_AUTO_TEST_CASE(refuses_matrices_without_their_scales) {
  image.add<std::uint8_t>("w", "F8_E4M3", {2, 4}, std::vector<std::uint8_t>(8));
  BOOST_TEST(refusal("w", 2, 4) == dir.path().string() + ": w_scale_inv: is missing");
  image.add<float>("w_scale_inv", "F32", {1, 2}, {1, 1});
  BOOST_TEST(refusal("w", 2, 4) == file() + "w_scale_inv: has shape [1, 2], expected [1, 1]");
  image.add<std::uint8_t>("v", "F8_E4M3", {2, 4}, std::vector<std::uint8_t>(8));
  image.add<std::uint16_t>("v_scale_inv", "BF16", {1, 1}, {1});
  BOOST_TEST(refusal("v", 2, 4) == file() + "v_scale_inv: must have dtype F32");
}

BOOST_AUTO_TEST_CASE(refuses_matrices_of_another_shape_or_type) {
  image.add<float>("w", "F32", {2, 3}, std::vector<float>(6));
  image.add<std::uint8_t>("bytes", "F8_E5M2", {2, 3}, std::vector<std::uint8_t>(6));
  BOOST_TEST(refusal("w", 3, 2) == file() + "w: has shape [2, 3], expected [3, 2]");
  BOOST_TEST(refusal("bytes", 2, 3) == file() + "bytes: dtype F8_E5M2 is not supported here");
  BOOST_TEST(refusal("none", 2, 3) == dir.path().string() + ": none: is missing");
  BOOST_TEST(!model::type_of(open(), "none").has_value());
}

BOOST_AUTO_TEST_CASE(refuses_fused_experts_that_do_not_fit) {
  image.add<float>(fused + "gate_up_proj", "F32", {2, 4, 1}, std::vector<float>(8));
  BOOST_TEST(refusal(fused + "2.up_proj.weight", 2, 1) == file() + fused + "gate_up_proj: has no expert 2");
  BOOST_TEST(refusal(expert + "up_proj.weight", 3, 1) ==
             file() + fused + "gate_up_proj: has shape [2, 4, 1], expected [2, 6, 1]");
  BOOST_TEST(refusal(expert + "down_proj.weight", 1, 2) ==
             dir.path().string() + ": " + expert + "down_proj.weight: is missing");
  BOOST_TEST(refusal(fused + "-1.up_proj.weight", 2, 1) ==
             dir.path().string() + ": " + fused + "-1.up_proj.weight: is missing");
  config.weight_block_rows = 3;
  image.add<std::uint8_t>("model.layers.2.mlp.experts.gate_up_proj", "F8_E4M3", {2, 4, 1},
                          std::vector<std::uint8_t>(8));
  BOOST_TEST(refusal("model.layers.2.mlp.experts.0.up_proj.weight", 2, 1) ==
             file() + "model.layers.2.mlp.experts.gate_up_proj: a weight block reaches over gate and up rows");
}

BOOST_AUTO_TEST_CASE(reads_vectors_of_any_precision) {
  image.add<std::uint16_t>("half", "F16", {2}, {0x3c00, 0xc000});
  image.add<std::uint16_t>("bf16", "BF16", {1}, {0x4040});
  image.add<std::uint8_t>("fp8", "F8_E4M3", {1}, {0x38});
  const auto from = open();

  BOOST_TEST(model::load_vector(from, "half", 2).value() == (std::vector<float>{1, -2}),
             boost::test_tools::per_element());
  BOOST_TEST(model::load_vector(from, "bf16", 1).value()[0] == 3.0f);
  BOOST_TEST(model::load_vector(from, "fp8", 1).error().message ==
             file() + "fp8: dtype F8_E4M3 is not supported for a vector");
  BOOST_TEST(model::load_vector(from, "bf16", 2).error().message == file() + "bf16: has shape [1], expected [2]");
}

BOOST_AUTO_TEST_SUITE_END()
