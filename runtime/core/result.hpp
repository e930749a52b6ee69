// A value or an error. Errors are values inside runtime/; exceptions happen only while starting up (launch/).
#pragma once

#include "runtime/core/errc.hpp"
#include "runtime/core/invariant.hpp"

#include <optional>
#include <utility>
#include <variant>

namespace troupe {

/// Either a `T` or an `error`. Reading the wrong side is a broken invariant and stops the process.
template <class T>
class [[nodiscard]] result {
 public:
  result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  result(troupe::error e) : state_(std::in_place_index<1>, std::move(e)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& value() & { return check(), std::get<0>(state_); }
  const T& value() const& { return check(), std::get<0>(state_); }
  /// By value, so that `for (x : f().value())` reads nothing that is gone.
  T value() && { return check(), std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const troupe::error& error() const {
    invariant(!has_value(), "result holds a value, not an error");
    return std::get<1>(state_);
  }

 private:
  void check() const { invariant(has_value(), has_value() ? "" : std::get<1>(state_).message); }

  std::variant<T, troupe::error> state_;
};

/// Success without a value, or an error.
template <>
class [[nodiscard]] result<void> {
 public:
  result() = default;
  result(troupe::error e) : error_(std::move(e)) {}

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  void value() const { invariant(has_value(), has_value() ? "" : error_->message); }
  const troupe::error& error() const {
    invariant(!has_value(), "result holds success, not an error");
    return *error_;
  }

 private:
  std::optional<troupe::error> error_;
};

} // namespace troupe

/// Evaluates `expr` (a result) and returns its error from the enclosing function if it failed.
#define TROUPE_TRY(expr)                                                                                               \
  do {                                                                                                                 \
    if (auto troupe_try = (expr); !troupe_try) return troupe_try.error();                                              \
  } while (false)

#define TROUPE_CONCAT_(a, b) a##b
#define TROUPE_CONCAT(a, b) TROUPE_CONCAT_(a, b)
/// `TROUPE_ASSIGN(auto x, f());` binds the value of `f()` or returns its error from the enclosing function.
#define TROUPE_ASSIGN(target, expr)                                                                                    \
  auto TROUPE_CONCAT(troupe_result_, __LINE__) = (expr);                                                               \
  if (!TROUPE_CONCAT(troupe_result_, __LINE__)) return TROUPE_CONCAT(troupe_result_, __LINE__).error();                \
  target = std::move(TROUPE_CONCAT(troupe_result_, __LINE__)).value()
