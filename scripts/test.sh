#!/usr/bin/env bash
# Runs every test of a finished build: C++ through ctest, Python through pytest.
. "$(dirname "$0")/common.sh"
say "C++ tests"
ctest --test-dir "$build_dir" -j "$jobs" --output-on-failure --no-tests=error --timeout 300 \
  --progress "$@"
say "Python tests"
ONNURI_CLI="$venv/bin/onnuri" "$venv/bin/python" -m pytest -q tests/python tests/hygiene
