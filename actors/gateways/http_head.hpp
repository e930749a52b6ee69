// Requests that another server might read differently, so that one of them could smuggle a second request past it
// (RFC 9112 sections 5, 6 and 11.2). Boost.Beast joins folded lines, takes "Transfer-Encoding: gzip" for no body at all
// and equal lengths given twice for one; here all of these are refused.
#pragma once

#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>

#include <cstddef>
#include <string_view>

namespace troupe {

/// Where the head of a request ends, behind its empty line; npos while that has not come. Looks at `bytes` from `from`
/// on. A line feed alone ends a line here, so that fault_of_bytes() can refuse it before the client runs out of time.
std::size_t end_of_head(std::string_view bytes, std::size_t from);

/// What is wrong with the bytes of a whole head (lines that do not end in CR LF, folded lines, control characters, a
/// space before a colon), or empty.
std::string_view fault_of_bytes(std::string_view head);

/// What is wrong with how the head says where the body ends, or empty.
std::string_view fault_of_framing(const boost::beast::http::request_header<>& head);

} // namespace troupe
