#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test that needs no GPU. `test.sh --quick` leaves the fuzzers out.
set -euo pipefail
cd "$(dirname "$0")/.."
begin=$SECONDS
step() { printf '\n== %s (%d s)\n' "$1" $((SECONDS - begin)); }
jobs=$(nproc)

step "packages"
./launch/install.sh

step "build"
cmake --preset dev >/dev/null
cmake --build --preset dev -j "$jobs" -- --quiet

step "Python environment of the client tests"
./tests/integration/python/make_venv.sh

step "tests"
ctest --preset dev -j "$jobs"

if command -v nvcc >/dev/null; then
  step "CUDA kernels and engine compile (they run where a GPU is: ctest --preset gpu)"
  cmake --preset gpu >/dev/null
  cmake --build --preset gpu -j "$jobs" --target gpu_kernels gpu_engine troupe_cuda cuda_bench -- --quiet
fi

if [ "${1:-}" != --quick ]; then
  step "fuzzers"
  cmake --preset fuzz >/dev/null
  cmake --build --preset fuzz -j "$jobs" -- --quiet
  ctest --preset fuzz -j "$jobs"
fi
step "all green"
