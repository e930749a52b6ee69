#!/usr/bin/env bash
# clang-tidy's short list over the files without UCX, Asio, CLI11 or CUDA, which cost most. Precompiled headers are left
# out: they would bring Beast and all of CAF into every actor's file, at ten times the time.
set -euo pipefail
cd "$1"
commands=$(mktemp -d)
trap 'rm -r "$commands"' EXIT
sed -E 's/-Winvalid-pch//; s/-include [^ ]*cmake_pch.hxx//' "$2/compile_commands.json" >"$commands/compile_commands.json"
git ls-files 'kernels/*.cpp' 'runtime/*.cpp' 'actors/*.cpp' launch/recipe.cpp launch/process_host.cpp |
  grep -v '^kernels/bench/\|^runtime/exec/cuda/\|^runtime/net/\(bench\|bridge\|ucx\)/' |
  grep -v '^actors/codec/\|^actors/gateways/\(http_\|job_\|completion_task\)' |
  xargs -P "$(nproc)" -n 4 clang-tidy -p "$commands" --quiet 2> >(grep -v 'warnings generated' >&2)
