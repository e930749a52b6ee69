// The messages of actors/codec for the bridge between processes.
#pragma once

#include "runtime/net/bridge/message_codec.hpp"

#include <vector>

namespace troupe {

/// One for each of codec::messages; its name on the wire is the schema's ("AdmitRequest").
std::vector<net::message_codec> message_codecs();

} // namespace troupe
