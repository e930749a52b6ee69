// An HTTP gateway over a fake generation_service on a loopback port, and a small client that shows every header.
#pragma once

#include "actors/gateways/http_gateway.hpp"
#include "tests/support/fake_generation.hpp"
#include "tests/support/tiny_tokenizer.hpp"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/json.hpp>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace troupe::test {

namespace http = boost::beast::http;
namespace json = boost::json;

constexpr token_id end_token = 264;

/// Thinks "hm", says "hello world", ends.
inline std::vector<token_id> thoughtful(const model::tokenizer& tok) {
  auto out = tok.encode("hm\n</think>\n\nhello world", model::special_tokens::match).value();
  out.push_back(end_token);
  return out;
}

inline text_side tiny_text_side() {
  text_side out{.tokenizer = tiny_tokenizer()};
  out.model_name = "tiny";
  out.max_model_len = 256;
  out.vocab_size = out.tokenizer.vocab_size();
  out.bos_token = out.tokenizer.find("<｜begin▁of▁sentence｜>");
  return out;
}

using header_list = std::vector<std::pair<std::string, std::string>>;

/// One connection.
class http_caller {
 public:
  explicit http_caller(std::uint16_t port) { socket_.connect({boost::asio::ip::make_address("127.0.0.1"), port}); }

  void send(http::verb method, const std::string& target, const std::string& body = {},
            const header_list& headers = {}) {
    http::request<http::string_body> request(method, target, 11);
    request.set(http::field::host, "localhost");
    if (method == http::verb::post) request.set(http::field::content_type, "application/json");
    for (const auto& [name, value] : headers) request.set(name, value);
    request.body() = body;
    request.prepare_payload();
    boost::system::error_code early; // the server may refuse before it has read all
    http::write(socket_, request, early);
  }
  http::response<http::string_body> receive() {
    http::response<http::string_body> out;
    http::read(socket_, buffer_, out);
    return out;
  }
  /// Reads until `text` has come.
  void wait_for(const std::string& text) {
    for (std::string seen; seen.find(text) == seen.npos;) {
      char bytes[512];
      seen.append(bytes, socket_.read_some(boost::asio::buffer(bytes)));
    }
  }
  void write_raw(const std::string& bytes) { boost::asio::write(socket_, boost::asio::buffer(bytes)); }
  /// False once the server has closed the connection.
  bool try_write(const std::string& bytes) {
    boost::system::error_code failed;
    boost::asio::write(socket_, boost::asio::buffer(bytes), failed);
    return !failed;
  }
  /// The server has closed the connection and sent nothing more. Waits until it does.
  bool is_at_end() {
    char byte = 0;
    boost::system::error_code end;
    return buffer_.size() == 0 && socket_.read_some(boost::asio::buffer(&byte, 1), end) == 0 && end;
  }
  void close() { socket_.close(); }

 private:
  boost::asio::io_context loop_;
  boost::asio::ip::tcp::socket socket_{loop_};
  boost::beast::flat_buffer buffer_;
};

struct http_rig {
  explicit http_rig(http_gateway_options options = {}) {
    options.port = 0;
    options.version = "1.2.3";
    gateway = http_gateway::open(std::move(options), completions).value();
  }

  http::response<http::string_body> call(http::verb method, const std::string& target, const std::string& body = {},
                                         const header_list& headers = {}) {
    http_caller caller(gateway->port());
    caller.send(method, target, body, headers);
    return caller.receive();
  }
  http::response<http::string_body> get(const std::string& target) { return call(http::verb::get, target); }
  http::response<http::string_body> post(const std::string& target, const json::object& body) {
    return call(http::verb::post, target, json::serialize(body));
  }
  http::response<http::string_body> chat(json::object fields = {}) {
    fields["messages"] = json::array{json::object{{"role", "user"}, {"content", "hi"}}};
    return post("/v1/chat/completions", fields);
  }

  text_side text = tiny_text_side();
  fake_generation generation{[this](const generation_request&) { return thoughtful(text.tokenizer); }};
  completion_service completions{generation, text};
  std::unique_ptr<http_gateway> gateway;
};

/// The events of a streamed body, without [DONE].
inline std::vector<json::object> events_of(const std::string& body) {
  std::vector<json::object> out;
  for (std::size_t at = 0; (at = body.find("data: ", at)) != body.npos;) {
    const auto end = body.find("\n\n", at);
    const auto event = body.substr(at + 6, end - at - 6);
    if (event != "[DONE]") out.push_back(json::parse(event).as_object());
    at = end;
  }
  return out;
}

} // namespace troupe::test
