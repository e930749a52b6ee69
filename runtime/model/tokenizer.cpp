#include "runtime/model/tokenizer.hpp"

#include "runtime/core/limits.hpp"
#include "runtime/model/added_tokens.hpp"
#include "runtime/model/bpe.hpp"
#include "runtime/model/bpe_alphabet.hpp"
#include "runtime/model/file_error.hpp"
#include "runtime/model/pre_tokenizer.hpp"
#include "runtime/model/text_file.hpp"
#include "runtime/model/tokenizer_json.hpp"

#include <algorithm>
#include <array>

namespace troupe::model {

struct tokenizer::state {
  std::vector<std::string> bytes;                       // by id, as they appear in text
  std::vector<bool> special;                            // by id
  boost::unordered_flat_map<std::string, token_id> ids; // by the token string of the file
  added_tokens raw;
  added_tokens normalized; // searched for in what `raw` leaves over
  pre_tokenizer pieces{{}};
  bpe pairs{{}, {}};
  std::size_t longest = 0; // bytes

  result<void> encode_raw(std::string_view text, std::vector<token_id>& out) const;
  result<void> encode_normalized(std::string_view text, std::vector<token_id>& out) const;
  result<void> encode_plain(std::string_view text, std::vector<token_id>& out) const;
};

namespace {

/// Calls `stretch` for what lies between added tokens and appends the added tokens themselves.
template <class Stretch>
result<void> cut_at_added_tokens(const added_tokens& added, std::string_view text, std::vector<token_id>& out,
                                 const Stretch& stretch) {
  std::size_t done = 0;
  while (const auto match = added.find(text, done)) {
    TROUPE_TRY(stretch(text.substr(done, match->offset - done)));
    out.push_back(match->id);
    done = match->offset + match->size;
  }
  return stretch(text.substr(done));
}

/// The token of each single byte. With all 256 there is no text that cannot be encoded.
result<std::array<token_id, 256>> find_byte_tokens(const tokenizer_json& json, std::string_view file) {
  std::array<token_id, 256> tokens;
  tokens.fill(-1);
  for (std::size_t id = 0; id < json.vocabulary.size(); ++id)
    if (const auto bytes = bytes_of_symbols(json.vocabulary[id]); bytes && bytes->size() == 1)
      tokens[static_cast<std::uint8_t>(bytes->front())] = static_cast<token_id>(id);
  if (const auto missing = std::ranges::find(tokens, -1); missing != tokens.end())
    return file_error(file, "model.vocab", "no token for byte " + std::to_string(missing - tokens.begin()));
  return tokens;
}

/// Most pieces of ordinary text are one token. Those that merging makes of their own bytes need no merging again.
void add_shortcuts(bpe& pairs, const tokenizer_json& json) {
  std::vector<token_id> merged;
  for (std::size_t i = 0; i < json.vocabulary.size(); ++i) {
    const auto bytes = bytes_of_symbols(json.vocabulary[i]);
    if (!bytes || bytes->empty()) continue;
    const auto id = static_cast<token_id>(i);
    merged.clear();
    if (!json.ignore_merges) pairs.merge(*bytes, merged);
    if (json.ignore_merges || (merged.size() == 1 && merged[0] == id)) pairs.add_shortcut(*bytes, id);
  }
}

} // namespace

result<tokenizer> tokenizer::load(const std::filesystem::path& dir) {
  const auto path = dir / "tokenizer.json";
  TROUPE_ASSIGN(const auto text, read_text_file(path));
  return parse(text, path.string());
}

result<tokenizer> tokenizer::parse(std::string_view text, std::string_view file) {
  TROUPE_ASSIGN(auto json, parse_tokenizer_json(text, file));
  TROUPE_ASSIGN(const auto byte_tokens, find_byte_tokens(json, file));
  auto state = std::make_unique<tokenizer::state>();
  state->pieces = pre_tokenizer(std::move(json.steps));
  state->pairs = bpe(byte_tokens, std::move(json.merges));
  add_shortcuts(state->pairs, json);

  const auto name = [&](const std::string& token, token_id id) {
    if (state->bytes.size() <= static_cast<std::size_t>(id)) state->bytes.resize(id + 1);
    state->bytes[id] = bytes_of_symbols(token).value_or(token);
    state->longest = std::max(state->longest, state->bytes[id].size());
    state->ids.emplace(token, id);
  };
  for (std::size_t id = 0; id < json.vocabulary.size(); ++id)
    if (const auto& token = json.vocabulary[id]; !token.empty()) name(token, static_cast<token_id>(id));
  for (const auto& token : json.added) {
    name(token.content, token.id);
    (token.normalized ? state->normalized : state->raw).add(token.content, token.id);
  }
  if (const auto hole = std::ranges::find(state->bytes, ""); hole != state->bytes.end())
    return file_error(file, "", "no token has the id " + std::to_string(hole - state->bytes.begin()));
  state->special.resize(state->bytes.size());
  for (const auto& token : json.added) state->special[token.id] = token.special;
  return tokenizer(std::move(state));
}

result<void> tokenizer::state::encode_raw(std::string_view text, std::vector<token_id>& out) const {
  return cut_at_added_tokens(raw, text, out, [&](std::string_view rest) { return encode_normalized(rest, out); });
}

result<void> tokenizer::state::encode_normalized(std::string_view text, std::vector<token_id>& out) const {
  return cut_at_added_tokens(normalized, text, out, [&](std::string_view rest) { return encode_plain(rest, out); });
}

result<void> tokenizer::state::encode_plain(std::string_view text, std::vector<token_id>& out) const {
  return pieces.split(text, [&](std::string_view piece) { pairs.encode(piece, out); });
}

result<std::vector<token_id>> tokenizer::encode(std::string_view text, special_tokens mode) const {
  if (text.size() > limits::encode_text_bytes_max) return error{errc::bad_input, "text is too long"};
  if (const auto at = find_invalid_utf8(text); at != std::string_view::npos)
    return error{errc::bad_input, "text is not valid UTF-8 at byte " + std::to_string(at)};
  std::vector<token_id> ids;
  TROUPE_TRY(mode == special_tokens::match ? state_->encode_raw(text, ids) : state_->encode_plain(text, ids));
  return ids;
}

std::string_view tokenizer::bytes(token_id id) const {
  return id >= 0 && id < vocab_size() ? std::string_view(state_->bytes[id]) : std::string_view();
}

bool tokenizer::is_special(token_id id) const { return id >= 0 && id < vocab_size() && state_->special[id]; }

token_id tokenizer::find(std::string_view token) const {
  const auto found = state_->ids.find(std::string(token));
  return found == state_->ids.end() ? -1 : found->second;
}

std::string tokenizer::decode(std::span<const token_id> ids, bool skip_special) const {
  utf8_stream stream;
  std::string text;
  for (const auto id : ids)
    if (!skip_special || !is_special(id)) text += stream.push(bytes(id));
  return text + stream.finish();
}

int tokenizer::vocab_size() const { return static_cast<int>(state_->bytes.size()); }

std::size_t tokenizer::longest_token_bytes() const { return state_->longest; }

tokenizer::tokenizer(std::unique_ptr<const state> s) : state_(std::move(s)) {}
tokenizer::tokenizer(tokenizer&&) noexcept = default;
tokenizer& tokenizer::operator=(tokenizer&&) noexcept = default;
tokenizer::~tokenizer() = default;

} // namespace troupe::model
