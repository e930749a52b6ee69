#include "launch/verbs/http_client.hpp"

#include "runtime/core/limits.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <array>
#include <cstdint>
#include <limits>
#include <utility>

namespace troupe::launch {

namespace {

namespace beast = boost::beast;
namespace http = beast::http;
using boost::asio::ip::tcp;

/// The server's own words, if it has any.
error error_of(unsigned status, const std::string& body) {
  auto message = "the server answers " + std::to_string(status);
  boost::system::error_code failed;
  const auto json = boost::json::parse(body, failed);
  if (!failed && json.is_object() && json.get_object().contains("error")) {
    const auto* text = json.at("error").is_object() ? json.at("error").get_object().if_contains("message") : nullptr;
    if (text && text->is_string()) message += ": " + std::string(text->get_string());
  }
  if (status == 404) return {errc::not_found, message};
  if (status == 429) return {errc::overloaded, message};
  return {status == 503 ? errc::disconnected : errc::bad_input, message};
}

} // namespace

/// One request and its answer, read piece by piece.
class http_client::call {
 public:
  explicit call(const http_client& client) : client_(client) {}

  result<void> send(http::verb method, const std::string& path, std::string body) {
    boost::system::error_code failed;
    const auto found = tcp::resolver(loop_).resolve(client_.host_, client_.port_, failed);
    if (!failed) boost::asio::connect(socket_, found, failed);
    http::request<http::string_body> request(method, path, 11);
    request.set(http::field::host, client_.host_ + ":" + client_.port_);
    request.set(http::field::user_agent, "troupe");
    if (!client_.api_key_.empty()) request.set(http::field::authorization, "Bearer " + client_.api_key_);
    if (method == http::verb::post) request.set(http::field::content_type, "application/json");
    request.keep_alive(false);
    request.body() = std::move(body);
    request.prepare_payload();
    if (!failed) http::write(socket_, request, failed);
    answer_.body_limit(std::numeric_limits<std::uint64_t>::max()); // of a server we chose
    if (!failed) http::read_header(socket_, buffer_, answer_, failed);
    if (failed) return lost(failed);
    return {};
  }

  unsigned status() const { return answer_.get().result_int(); }

  /// The next bytes of the body; empty at its end.
  result<std::string_view> read_some() {
    if (answer_.is_done()) return std::string_view();
    answer_.get().body().data = piece_.data();
    answer_.get().body().size = piece_.size();
    boost::system::error_code failed;
    http::read_some(socket_, buffer_, answer_, failed);
    if (failed && failed != http::error::need_buffer) return lost(failed);
    const auto size = piece_.size() - answer_.get().body().size;
    if (size == 0) return read_some(); // a chunk's header
    return std::string_view(piece_.data(), size);
  }

  result<std::string> read_all() {
    std::string out;
    for (;;) {
      TROUPE_ASSIGN(const auto piece, read_some());
      if (piece.empty()) return out;
      out += piece;
    }
  }

 private:
  error lost(boost::system::error_code why) const {
    if (why == boost::asio::error::interrupted) return {errc::cancelled, "interrupted"};
    return {errc::disconnected, client_.host_ + ":" + client_.port_ + ": " + why.message()};
  }

  const http_client& client_;
  boost::asio::io_context loop_;
  tcp::socket socket_{loop_};
  beast::flat_buffer buffer_;
  http::response_parser<http::buffer_body> answer_;
  std::array<char, 16384> piece_;
};

result<http_client> http_client::open(std::string_view url, std::string api_key) {
  constexpr std::string_view scheme = "http://";
  const auto bad = error{errc::bad_input, "\"" + std::string(url) + "\" is not like http://host:port"};
  if (!url.starts_with(scheme)) return bad;
  auto rest = url.substr(scheme.size());
  while (rest.ends_with('/')) rest.remove_suffix(1);
  const auto colon = rest.rfind(':');
  http_client out;
  out.host_ = rest.substr(0, colon);
  out.port_ = colon == rest.npos ? "80" : std::string(rest.substr(colon + 1));
  out.api_key_ = std::move(api_key);
  if (out.host_.starts_with('[') && out.host_.ends_with(']')) out.host_ = out.host_.substr(1, out.host_.size() - 2);
  if (out.host_.empty() || out.port_.find_first_not_of("0123456789") != out.port_.npos) return bad;
  return out;
}

result<boost::json::value> http_client::exchange(const std::string& path, const boost::json::value* body) const {
  call c(*this);
  TROUPE_TRY(c.send(body ? http::verb::post : http::verb::get, path, body ? boost::json::serialize(*body) : ""));
  TROUPE_ASSIGN(const auto text, c.read_all());
  if (c.status() / 100 != 2) return error_of(c.status(), text);
  boost::system::error_code failed;
  auto out = boost::json::parse(text, failed);
  if (failed) return error{errc::bad_input, path + ": the answer is not JSON"};
  return out;
}

result<boost::json::value> http_client::get(const std::string& path) const { return exchange(path, nullptr); }

result<boost::json::value> http_client::post(const std::string& path, const boost::json::value& body) const {
  return exchange(path, &body);
}

result<void> http_client::stream(const std::string& path, const boost::json::value& body,
                                 const std::function<bool(std::string_view)>& on_event) const {
  constexpr std::string_view field = "data: ";
  call c(*this);
  TROUPE_TRY(c.send(http::verb::post, path, boost::json::serialize(body)));
  if (c.status() / 100 != 2) {
    TROUPE_ASSIGN(const auto text, c.read_all());
    return error_of(c.status(), text);
  }
  std::string unread;
  for (;;) {
    TROUPE_ASSIGN(const auto piece, c.read_some());
    if (piece.empty()) return error{errc::disconnected, "the answer broke off"};
    unread += piece;
    std::size_t begin = 0;
    for (std::size_t end; (end = unread.find('\n', begin)) != unread.npos; begin = end + 1) {
      const auto line = std::string_view(unread).substr(begin, end - begin);
      if (!line.starts_with(field)) continue;
      const auto event = line.substr(field.size());
      if (event == "[DONE]" || !on_event(event)) return {};
    }
    unread.erase(0, begin);
  }
}

} // namespace troupe::launch
