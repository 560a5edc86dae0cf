#!/usr/bin/env bash
# Every C++ file is as .clang-format says; "format.sh --fix" makes it so.
set -euo pipefail
root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
mode=(--dry-run -Werror)
if [ "${1:-}" = --fix ]; then mode=(-i); fi
cd "$root"
# The script's first line names the folder that it was installed in.
find src tests benchmarks -name '*.h' -o -name '*.cpp' | xargs .deps/venv/bin/python .deps/venv/bin/clang-format "${mode[@]}"
