// Messages of peers in a mailbox. Each holds the room that its frame took until the actor has handled it: so a slow
// actor slows its senders down instead of growing its mailbox.
#pragma once

#include "runtime/net/transport.hpp"

#include <caf/mailbox_element.hpp>
#include <caf/message.hpp>

#include <tuple>
#include <utility>

namespace troupe::net {

/// A message of any types.
class received_message final : public caf::mailbox_element {
 public:
  received_message(caf::strong_actor_ptr sender, caf::message_id id, forwarding_stack stages, caf::message content,
                   receipt room)
      : mailbox_element(std::move(sender), id, std::move(stages)), content_(std::move(content)),
        room_(std::move(room)) {}

  caf::type_erased_tuple& content() override {
    if (content_.empty()) return empty_;
    return content_.vals().unshared();
  }
  const caf::type_erased_tuple& content() const override {
    if (content_.empty()) return empty_;
    return *content_.vals();
  }
  caf::message move_content_to_message() override { return std::move(content_); }
  caf::message copy_content_to_message() const override { return content_; }

 private:
  caf::message content_;
  caf::empty_type_erased_tuple empty_;
  receipt room_;
};

/// A message of types known when it was compiled: values and envelope are one allocation.
template <class... Ts>
class received_values final : public caf::mailbox_element,
                              public caf::detail::tuple_vals_impl<caf::type_erased_tuple, Ts...> {
 public:
  received_values(caf::strong_actor_ptr sender, caf::message_id id, receipt room, std::tuple<Ts...> values)
      : mailbox_element(std::move(sender), id, {}), room_(std::move(room)) {
    this->data() = std::move(values);
  }

  caf::type_erased_tuple& content() override { return *this; }
  const caf::type_erased_tuple& content() const override { return *this; }
  caf::message move_content_to_message() override {
    return std::apply([](auto&... x) { return caf::make_message(std::move(x)...); }, this->data());
  }
  caf::message copy_content_to_message() const override {
    return std::apply([](const auto&... x) { return caf::make_message(x...); }, this->data());
  }
  void dispose() noexcept { this->deref(); }

 private:
  receipt room_;
};

} // namespace troupe::net
