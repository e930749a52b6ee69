#include "runtime/net/peer_uri.hpp"

#include "runtime/core/limits.hpp"

#include <algorithm>
#include <charconv>
#include <random>

namespace troupe::net {

namespace {

bool printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

} // namespace

result<peer_uri> parse_peer_uri(std::string_view text) {
  const auto refused = [&](const char* why) {
    const auto shown = text.substr(0, 64);
    return error{errc::bad_input, "address \"" + std::string(printable(shown) ? shown : "?") + "\": " + why +
                                      "; expected ucx://host:port/uid"};
  };
  if (text.size() > limits::card_uri_bytes_max || !printable(text)) return refused("too long or not printable");
  const auto scheme_end = text.find("://");
  if (scheme_end == 0 || scheme_end == text.npos) return refused("no scheme");
  const auto rest = text.substr(scheme_end + 3);
  const auto slash = rest.find('/');
  const auto authority = rest.substr(0, slash);
  const auto colon = authority.rfind(':');
  if (colon == 0 || colon == authority.npos) return refused("no host or no port");

  peer_uri out{std::string(text.substr(0, scheme_end)), std::string(authority.substr(0, colon)), 0, ""};
  const auto port = authority.substr(colon + 1);
  const auto [end, failed] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (failed != std::errc{} || end != port.data() + port.size() || out.port == 0) return refused("no such port");
  if (slash != rest.npos) out.uid = rest.substr(slash + 1);
  return out;
}

std::string to_string(const peer_uri& uri) {
  return uri.scheme + "://" + uri.host + ":" + std::to_string(uri.port) + (uri.uid.empty() ? "" : "/" + uri.uid);
}

std::string fresh_uid() {
  constexpr std::string_view digits = "0123456789abcdef";
  std::random_device random;
  std::string out(16, '0');
  for (auto& digit : out) digit = digits[random() % digits.size()];
  return out;
}

} // namespace troupe::net
