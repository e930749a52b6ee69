#include "actors/gateways/text_side.hpp"

namespace troupe {

result<text_side> load_text_side(const std::filesystem::path& dir, const text_options& options) {
  TROUPE_ASSIGN(auto config, model::load_config(dir));
  TROUPE_ASSIGN(auto tokenizer, model::tokenizer::load(dir));
  text_side out{.tokenizer = std::move(tokenizer)};
  TROUPE_ASSIGN(out.defaults, model::load_generation_config(dir));
  TROUPE_ASSIGN(out.format, options.chat_template.empty() ? model::detect_chat_format(dir)
                                                          : model::chat_format_named(options.chat_template));
  const auto folder = std::filesystem::weakly_canonical(dir).filename().string();
  out.model_name = options.model_name.empty() ? folder : options.model_name;
  out.max_model_len = options.max_model_len;
  out.vocab_size = config.vocab_size;
  out.bos_token = config.bos_token_id;
  out.seed = options.seed;
  return out;
}

} // namespace troupe
