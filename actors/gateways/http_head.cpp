#include "actors/gateways/http_head.hpp"

#include <boost/beast/core/string.hpp>

#include <algorithm>

namespace troupe {

namespace {

namespace http = boost::beast::http;

bool is_blank(char c) { return c == ' ' || c == '\t'; }

bool is_control(char c) { return (static_cast<unsigned char>(c) < ' ' && c != '\t') || c == 0x7f; }

/// `line` is without its CR LF; fields are all lines but the first and the last.
std::string_view fault_of_line(std::string_view line, bool is_field) {
  if (std::any_of(line.begin(), line.end(), is_control)) return "a control character in the header";
  if (!is_field) return {};
  if (is_blank(line.front())) return "a header field goes on in the next line";
  const auto colon = line.find(':');
  if (colon == line.npos || colon == 0) return "a header field without a name";
  return is_blank(line[colon - 1]) ? "a space before a colon" : "";
}

bool is_plain_number(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

} // namespace

std::size_t end_of_head(std::string_view bytes, std::size_t from) {
  for (auto at = bytes.find('\n', from); at != bytes.npos; at = bytes.find('\n', at + 1)) {
    const auto rest = bytes.substr(at + 1);
    if (rest.starts_with("\r\n")) return at + 3;
    if (rest.starts_with('\n')) return at + 2;
  }
  return bytes.npos;
}

std::string_view fault_of_bytes(std::string_view head) {
  for (bool is_field = false; !head.empty(); is_field = true) {
    const auto end = head.find('\n');
    if (end == head.npos || end == 0 || head[end - 1] != '\r') return "a line does not end in CR LF";
    const auto line = head.substr(0, end - 1);
    head.remove_prefix(end + 1);
    if (const auto fault = fault_of_line(line, is_field && !line.empty()); !fault.empty()) return fault;
  }
  return {};
}

std::string_view fault_of_framing(const http::request_header<>& head) {
  const auto lengths = head.count(http::field::content_length), codings = head.count(http::field::transfer_encoding);
  if (lengths > 0 && codings > 0) return "Content-Length and Transfer-Encoding";
  if (lengths > 1) return "more than one Content-Length";
  if (lengths == 1 && !is_plain_number(head[http::field::content_length])) return "Content-Length is not a number";
  if (codings == 0) return {};
  if (codings > 1) return "more than one Transfer-Encoding";
  if (head.version() != 11) return "Transfer-Encoding before HTTP/1.1";
  if (!boost::beast::iequals(head[http::field::transfer_encoding], "chunked"))
    return "Transfer-Encoding is not chunked";
  return {};
}

} // namespace troupe
