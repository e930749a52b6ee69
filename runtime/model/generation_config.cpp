// generation_config.json: defaults of sampling. A folder need not have one.
#include "runtime/core/limits.hpp"
#include "runtime/model/config.hpp"
#include "runtime/model/config_reader.hpp"
#include "runtime/model/json_document.hpp"
#include "runtime/model/text_file.hpp"

namespace troupe::model {

result<generation_config> parse_generation_config(std::string_view json, std::string_view file) {
  TROUPE_ASSIGN(const auto document, parse_json_document(json, file));
  const json_field root(document, file);
  TROUPE_TRY(root.object());
  config_reader in(root);
  generation_config c;
  in.read("temperature", c.temperature, 0, 100);
  in.read("top_p", c.top_p, 0, 1);
  in.read("min_p", c.min_p, 0, 1);
  in.read("top_k", c.top_k, 0, limits::token_ids_max);
  in.read("do_sample", c.do_sample);
  in.read_ids("eos_token_id", c.eos_token_ids, limits::token_ids_max - 1);
  TROUPE_TRY(in.outcome());
  return c;
}

result<generation_config> load_generation_config(const std::filesystem::path& dir) {
  const auto path = dir / "generation_config.json";
  const auto text = read_text_file(path);
  if (!text && text.error().code == errc::not_found) return generation_config{};
  if (!text) return text.error();
  return parse_generation_config(*text, path.string());
}

} // namespace troupe::model
