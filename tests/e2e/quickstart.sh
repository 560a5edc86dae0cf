#!/usr/bin/env bash
# Runs launch/quickstart.sh as a newcomer does, on less data; then again, when only the evaluation is left to do.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

"$root/launch/quickstart.sh" --dir "$dir" --pictures 200 --steps 4 2>&1 | tee "$dir/first.log"
"$root/launch/quickstart.sh" --dir "$dir" --pictures 300 --steps 4 2>&1 | tee "$dir/second.log"

expect() { grep -q "$2" "$1" || { echo "FAILED: expected '$2' in $1" >&2; exit 1; }; }
expect "$dir/first.log" "finished after 4 steps"
expect "$dir/first.log" "itm_accuracy"
expect "$dir/first.log" "match 0\\."
expect "$dir/second.log" "nothing to do"
expect "$dir/second.log" "train has 200 scenes already"
"$PYTHON" -c "import json, sys; assert json.load(open(sys.argv[1]))['samples'] == 2000" "$dir/evaluate.json"
