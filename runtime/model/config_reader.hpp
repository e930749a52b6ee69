// Reads the members of one JSON object into variables and keeps the first error, so that a parser is a list of fields.
#pragma once

#include "runtime/model/json_field.hpp"

#include <initializer_list>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace troupe::model {

/// An absent or null member leaves the variable as it is, unless `need` reads it. After an error nothing is read.
class config_reader {
 public:
  explicit config_reader(json_field object) : object_(std::move(object)) {}

  void need(std::string_view name, int& to, int low, int high);
  void need(std::string_view name, float& to, double low, double high);
  void need(std::string_view name, bool& to);
  void read(std::string_view name, int& to, int low, int high);
  void read(std::string_view name, float& to, double low, double high);
  void read(std::string_view name, std::optional<int>& to, int low, int high);
  void read(std::string_view name, std::optional<float>& to, double low, double high);
  void read(std::string_view name, bool& to);
  /// One id or a list of ids in [0, high].
  void read_ids(std::string_view name, std::vector<int>& to, int high);

  /// Takes the value that the text of `name` stands for. Errors: unsupported, naming the text.
  template <class T>
  void choose(std::string_view name, T& to, std::initializer_list<std::pair<std::string_view, T>> known) {
    const auto text = text_of(name);
    if (!text) return;
    for (const auto& [word, value] : known)
      if (word == *text) return void(to = value);
    refuse_word(name, *text);
  }
  /// Refuses every text but `only`.
  void expect(std::string_view name, std::string_view only);

  /// Keeps an error about `name` when `holds` is false: a rule between fields.
  void check(bool holds, std::string_view name, std::string_view reason);

  json_field operator[](std::string_view name) const { return object_[name]; }
  /// The first error, if any.
  result<void> outcome() const;

 private:
  bool skips(std::string_view name) const { return error_ || object_[name].is_null(); }
  std::optional<std::string_view> text_of(std::string_view name);
  void refuse_word(std::string_view name, std::string_view word);
  void keep(error e);

  json_field object_;
  std::optional<error> error_;
};

} // namespace troupe::model
