// The answer to one request while it is made: events of all its choices in, chunks or the whole body out. Plain state,
// no threads; completion_task gives it a place to live.
#pragma once

#include "actors/gateways/openai/choice_stream.hpp"

#include <memory>
#include <string>
#include <vector>

namespace troupe::openai {

class completion {
 public:
  /// `text` must outlive it.
  completion(request r, std::vector<choice_plan> plans, const text_side& text, answer_head head);

  std::size_t size() const { return choices_.size(); }
  const choice_stream& choice(std::size_t i) const { return choices_[i]; }
  bool streams() const { return request_->stream; }

  /// Takes the next event of choice `i`. Returns what a stream sends for it, one JSON text per chunk; a request that
  /// does not stream gets nothing here and body() in the end.
  std::vector<std::string> push(std::size_t i, const token_event& event);

  bool done() const;
  /// Some choice was given up by the cluster: there is no answer.
  bool failed() const;

  /// The chunk with the usage that ends a stream, if the client asked for it.
  std::vector<std::string> last_chunks() const;
  /// The whole answer of a request that does not stream. Requires done() and not failed().
  std::string body() const;
  usage_counts usage() const;

 private:
  void keep(std::size_t i, choice_part part);
  std::string chunk(choice_part part) const;

  std::unique_ptr<const openai::request> request_; // choices refer to it
  answer_head head_;
  std::vector<choice_stream> choices_;
  std::vector<choice_part> whole_; // parts put together, for body()
};

} // namespace troupe::openai
