// The stages of tokenizer.json around BPE: which are understood, which are refused by name.
#pragma once

#include "runtime/model/json_field.hpp"
#include "runtime/model/pre_tokenizer.hpp"

#include <vector>

namespace troupe::model {

/// Accepts null and sequences of nothing: a text is encoded as it is.
result<void> check_normalizer(const json_field& normalizer);
/// Accepts ByteLevel, alone or in a sequence.
result<void> check_decoder(const json_field& decoder);
/// Sequences of Split and Digits that end with ByteLevel.
result<std::vector<pre_tokenizer_step>> read_pre_tokenizer(const json_field& pre_tokenizer);

} // namespace troupe::model
