#include "runtime/model/config_reader.hpp"

#include <string>

namespace troupe::model {

void config_reader::need(std::string_view name, int& to, int low, int high) {
  check(!object_[name].is_null(), name, "is missing");
  read(name, to, low, high);
}

void config_reader::need(std::string_view name, float& to, double low, double high) {
  check(!object_[name].is_null(), name, "is missing");
  read(name, to, low, high);
}

void config_reader::need(std::string_view name, bool& to) {
  check(!object_[name].is_null(), name, "is missing");
  read(name, to);
}

void config_reader::read(std::string_view name, int& to, int low, int high) {
  if (skips(name)) return;
  const auto value = object_[name].integer(low, high);
  if (!value) return keep(value.error());
  to = static_cast<int>(*value);
}

void config_reader::read(std::string_view name, float& to, double low, double high) {
  if (skips(name)) return;
  const auto value = object_[name].number(low, high);
  if (!value) return keep(value.error());
  to = static_cast<float>(*value);
}

void config_reader::read(std::string_view name, std::optional<int>& to, int low, int high) {
  if (!skips(name)) read(name, to.emplace(), low, high);
}

void config_reader::read(std::string_view name, std::optional<float>& to, double low, double high) {
  if (!skips(name)) read(name, to.emplace(), low, high);
}

void config_reader::read(std::string_view name, bool& to) {
  if (error_) return;
  const auto value = object_[name].boolean_or(to);
  if (!value) return keep(value.error());
  to = *value;
}

void config_reader::read_ids(std::string_view name, std::vector<int>& to, int high) {
  if (skips(name)) return;
  const auto field = object_[name];
  const auto list = field.array();
  const std::size_t count = list ? (*list)->size() : 1;
  std::vector<int> ids;
  for (std::size_t i = 0; i < count; ++i) {
    const auto id = (list ? field.at(i) : field).integer(0, high);
    if (!id) return keep(id.error());
    ids.push_back(static_cast<int>(*id));
  }
  to = std::move(ids);
}

void config_reader::expect(std::string_view name, std::string_view only) {
  const auto text = text_of(name);
  if (text && *text != only) refuse_word(name, *text);
}

void config_reader::check(bool holds, std::string_view name, std::string_view reason) {
  if (!holds) keep(object_[name].fail(reason));
}

result<void> config_reader::outcome() const {
  if (error_) return *error_;
  return {};
}

std::optional<std::string_view> config_reader::text_of(std::string_view name) {
  if (skips(name)) return {};
  const auto text = object_[name].string();
  if (text) return *text;
  keep(text.error());
  return {};
}

void config_reader::refuse_word(std::string_view name, std::string_view word) {
  keep(object_[name].fail("\"" + std::string(word) + "\" is not supported", errc::unsupported));
}

void config_reader::keep(error e) {
  if (!error_) error_ = std::move(e);
}

} // namespace troupe::model
