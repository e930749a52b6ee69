#include "actors/gateways/http_routes.hpp"

#include <algorithm>
#include <array>
#include <string>

namespace troupe {

namespace {

using boost::beast::http::verb;

constexpr std::array routes{
    http_route{route::chat_completions, verb::post, "/v1/chat/completions"},
    http_route{route::completions, verb::post, "/v1/completions"},
    http_route{route::models, verb::get, "/v1/models"},
    http_route{route::one_model, verb::get, "/v1/models/"},
    http_route{route::tokenize, verb::post, "/tokenize"},
    http_route{route::detokenize, verb::post, "/detokenize"},
    http_route{route::health, verb::get, "/health", false},
    http_route{route::ready, verb::get, "/ready", false},
    http_route{route::ping, verb::get, "/ping", false},
    http_route{route::version, verb::get, "/version"},
    http_route{route::metrics, verb::get, "/metrics"},
    http_route{route::status, verb::get, "/status"},
    http_route{route::load, verb::get, "/load"},
    http_route{route::server_info, verb::get, "/server_info"},
};

bool matches(const http_route& r, std::string_view path) {
  if (r.where == route::one_model) return path.size() > r.path.size() && path.starts_with(r.path);
  return path == r.path;
}

} // namespace

openai::reply<const http_route*> find_route(verb method, std::string_view target) {
  const auto path = target.substr(0, target.find('?'));
  const auto found = std::find_if(routes.begin(), routes.end(), [&](const auto& r) { return matches(r, path); });
  if (found == routes.end())
    return openai::api_error{.status = 404, .message = "there is nothing at this path", .code = "not_found"};
  if (found->method != method)
    return openai::api_error{.status = 405,
                             .message = "use " + std::string(boost::beast::http::to_string(found->method)),
                             .code = "method_not_allowed"};
  return &*found;
}

} // namespace troupe
