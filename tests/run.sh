#!/usr/bin/env bash
# Installs what the tests need, builds, runs them all. Arguments go to ctest: tests/run.sh -L unit
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

launch/setup.sh --tests
cmake --preset cpu -DPIXELBERT_TESTS=ON >/dev/null
cmake --build --preset cpu
# Tests that keep both cores busy count as two, those that mostly wait as one: four at once fill two cores.
ctest --test-dir build --parallel 4 --output-on-failure --no-tests=error "$@"
