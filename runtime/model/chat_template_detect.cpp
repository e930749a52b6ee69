// Which of the known chat templates a checkpoint carries.
#include "runtime/model/chat_template.hpp"
#include "runtime/model/file_error.hpp"
#include "runtime/model/json_document.hpp"
#include "runtime/model/text_file.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace troupe::model {
namespace {

constexpr std::array<std::pair<std::string_view, chat_format>, 3> format_names{
    {{"r1", chat_format::r1}, {"r1-0528", chat_format::r1_0528}, {"v3", chat_format::v3}}};
constexpr std::string_view known_names = "r1, r1-0528, v3";

/// The `chat_template` of a tokenizer_config.json: a string, or a list of named ones of which "default" counts.
result<std::string> template_in(const boost::json::value& config, const std::string& file) {
  const auto* object = config.if_object();
  const auto* found = object ? object->if_contains("chat_template") : nullptr;
  if (const auto* list = found ? found->if_array() : nullptr)
    for (const auto& each : *list)
      if (const auto* entry = each.if_object(); entry && entry->contains("name") && entry->at("name") == "default")
        found = entry->if_contains("template");
  if (const auto* text = found ? found->if_string() : nullptr) return std::string(*text);
  return file_error(file, "chat_template", "is missing", errc::not_found);
}

result<std::string> read_template(const std::filesystem::path& dir) {
  if (auto text = read_text_file(dir / "chat_template.jinja")) return text; // newer checkpoints keep it apart
  const auto path = dir / "tokenizer_config.json";
  TROUPE_ASSIGN(const auto text, read_text_file(path));
  TROUPE_ASSIGN(const auto config, parse_json_document(text, path.string()));
  return template_in(config, path.string());
}

} // namespace

result<chat_format> chat_format_named(std::string_view name) {
  const auto found = std::ranges::find(format_names, name, [](const auto& entry) { return entry.first; });
  if (found != format_names.end()) return found->second;
  return error{errc::bad_input, "no chat format \"" + std::string(name) + "\"; known: " + std::string(known_names)};
}

result<chat_format> detect_chat_format(const std::filesystem::path& dir) {
  TROUPE_ASSIGN(const auto text, read_template(dir));
  const auto has = [&](std::string_view part) { return text.find(part) != std::string::npos; };
  // `thinking` is V3.1's switch; its prompts are none of ours.
  if (!has("<｜User｜>") || !has("<｜Assistant｜>") || has("set thinking"))
    return file_error(dir.string(), "chat_template", "is not known; choose one of " + std::string(known_names),
                      errc::unsupported);
  if (has("is_last_user")) return chat_format::r1_0528;
  return has("</think>") ? chat_format::r1 : chat_format::v3;
}

} // namespace troupe::model
