"""Fails on an include that points upwards (ARCHITECTURE.md, "Tree"), or on a library outside the rooms that may use it."""

import pathlib
import re
import sys

# Who a room may include from, by longest matching prefix. A room may always include itself.
ALLOWED = {
    "kernels": [],
    "runtime/core": [],
    "runtime/model": ["runtime/core", "kernels"],
    "runtime/kv": ["runtime/core"],
    "runtime/moe": ["runtime/core", "kernels"],
    "runtime/policy": ["runtime/core"],
    "runtime/cluster": ["runtime/core"],
    "runtime/sched": ["runtime/core", "runtime/kv"],
    "runtime/exec": ["runtime/core", "runtime/model", "runtime/kv", "runtime/moe", "runtime/sched", "kernels"],
    "runtime/net": ["runtime/core"],
    "actors": ["runtime", "kernels"],
    "actors/codec": ["actors", "runtime", "schemas"],
    "launch": ["actors", "runtime", "kernels"],
    "examples": ["launch", "actors", "runtime", "kernels"],
    "tests": ["launch", "actors", "runtime", "kernels"],
    "tests/unit/codec": ["tests", "actors", "runtime", "schemas"],
}
# Third-party headers and the only rooms that may see them.
LIBRARIES = {
    r"caf/": ["actors", "launch", "runtime/net", "tests", "examples"],
    r"caf/io/": ["runtime/net", "tests"],
    r"ucp/|uct/|ucs/": ["runtime/net"],
    r"cuda|nccl|cublas": ["kernels/cuda", "kernels/bench", "runtime/exec/cuda", "tests/gpu"],
    r"capnp/|kj/": ["actors/codec", "tests/unit/codec"],
    r"openssl/": ["actors/gateways", "runtime/net"],
    r"prometheus/": ["actors/gateways"],
    r"boost/beast": ["actors/gateways", "actors/pch.hpp", "launch/verbs/http_client.cpp", "tests"],
    r"boost/asio": ["actors", "launch", "runtime/net", "tests"],
    r"boost/json": ["actors/gateways", "actors/pch.hpp", "launch", "runtime/model", "tests", "examples"],
    r"CLI/": ["launch", "tests"],
    r"yaml-cpp/": ["launch"],
    r"pcre2": ["runtime/model"],
    r"spdlog/": ["runtime/core/log.hpp", "runtime/core/log.cpp"],
    r"sys/mman\.h": ["runtime/core/segment_pool.cpp", "kernels", "runtime/exec", "runtime/model", "runtime/net", "tests"],
}
PURE = ["runtime/policy", "runtime/sched", "runtime/kv", "runtime/moe", "runtime/cluster"]
PURE_FORBIDDEN = r"thread|mutex|condition_variable|sys/.*|unistd\.h|fstream|iostream"
STD_ONLY = "runtime/core"  # besides what LIBRARIES lets in
STD = r"[a-z_]+"
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def within(path, prefix):
    return path == prefix or path.startswith(prefix + "/")


def complaints(path, text):
    room = max((r for r in ALLOWED if within(path, r)), key=len, default=None)
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match or room is None:
            continue
        quoted, target = match[1] == '"', match[2]
        where = f"{path}:{number}"
        if quoted and not any(within(target, ok) for ok in [room, *ALLOWED[room]]):
            yield f"{where}: {room} may not include {target}"
        if quoted:
            continue
        libraries = {pattern: rooms for pattern, rooms in LIBRARIES.items() if re.match(pattern, target)}
        for rooms in libraries.values():
            if not any(within(path, r) for r in rooms):
                yield f"{where}: {target} may be included only in {', '.join(rooms)}"
        if within(path, STD_ONLY) and not libraries and not re.fullmatch(STD, target):
            yield f"{where}: {room} is std only and may not include <{target}>"
        if any(within(path, r) for r in PURE) and re.fullmatch(PURE_FORBIDDEN, target):
            yield f"{where}: {room} is pure and may not include <{target}>"


def self_test():
    bad = {
        "kernels/cpu/a.cpp": '#include "runtime/core/ids.hpp"',
        "runtime/model/a.cpp": '#include "actors/router.hpp"',
        "runtime/exec/a.cpp": "#include <caf/actor.hpp>",
        "actors/a.cpp": "#include <caf/io/middleman.hpp>",
        "runtime/sched/a.cpp": "#include <thread>",
        "runtime/kv/a.cpp": '#include "tests/support/golden.hpp"',
        "actors/gateways/a.cpp": '#include "schemas/client.capnp.h"',
        "actors/b.cpp": "#include <capnp/message.h>",
        "actors/c.cpp": "#include <boost/beast/http.hpp>",
        "launch/verbs/a.cpp": "#include <boost/beast/http.hpp>",
        "runtime/model/b.cpp": "#include <spdlog/spdlog.h>",
        "runtime/core/a.cpp": "#include <unistd.h>",
        "runtime/core/b.cpp": "#include <fmt/format.h>",
        "runtime/net/a.cpp": "#include <CLI/CLI.hpp>",
        "actors/d.cpp": "#include <yaml-cpp/yaml.h>",
    }
    good = {
        "actors/a.cpp": '#include "runtime/core/ids.hpp"',
        "runtime/net/a.cpp": "#include <caf/io/middleman.hpp>",
        "runtime/core/log.hpp": "#include <spdlog/spdlog.h>",
        "runtime/core/a.cpp": "#include <vector>",
        "actors/codec/a.cpp": '#include <capnp/message.h>\n#include "schemas/client.capnp.h"',
        "launch/verbs/http_client.cpp": "#include <boost/beast/http.hpp>",
    }
    for path, text in bad.items():
        assert list(complaints(path, text)), f"not seen: {text} in {path}"
    for path, text in good.items():
        assert not list(complaints(path, text)), f"refused: {text} in {path}"


def main():
    if sys.argv[1] == "--self-test":
        return self_test()
    root = pathlib.Path(sys.argv[1])
    found = []
    for top in sorted({room.split("/")[0] for room in ALLOWED}):
        for file in sorted((root / top).rglob("*")):
            if file.suffix in {".hpp", ".cpp", ".cu", ".cuh"}:
                found += complaints(str(file.relative_to(root)), file.read_text())
    print("\n".join(found) or "every include points downwards")
    sys.exit(bool(found))


main()
