// The last words of a process whose mapped checkpoint changed under it.
#pragma once

namespace troupe::model {

/// From now on SIGBUS (a mapped file has shrunk, or its disk failed) writes one line to stderr that names the file, and
/// then ends the process as it would have: the supervisor replaces it. Nothing can be saved, since the bytes are
/// weights that a kernel is reading. Process-wide; call it once, early.
void explain_bus_errors();

} // namespace troupe::model
