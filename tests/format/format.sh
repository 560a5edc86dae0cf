#!/usr/bin/env bash
# Every C++ file is as .clang-format says; "format.sh --fix" makes it so.
set -euo pipefail
root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
mode=(--dry-run -Werror)
if [ "${1:-}" = --fix ]; then mode=(-i); fi
cd "$root"
find src tests benchmarks -name '*.h' -o -name '*.cpp' | xargs .deps/venv/bin/clang-format "${mode[@]}"
