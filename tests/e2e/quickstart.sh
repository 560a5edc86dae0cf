#!/usr/bin/env bash
# Runs launch/quickstart.sh as a newcomer does, on less data: with a Ctrl-C, and a second one at the same time; shows the page
# after the first steps and after the last; and runs it again, when nothing is left to do.
set -euo pipefail
root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dir=$(mktemp -d)
trap 'while pkill -KILL -f -- "$dir"; do sleep 0.1; done; rm -rf "$dir"' EXIT  # all that it starts names the folder
set -m  # each job has a process group, as on a terminal: Ctrl-C is a signal to the group

failed() { echo "FAILED: $*" >&2; exit 1; }
expect() { grep -q "$2" "$1" || { cat "$1"; failed "expected '$2' in $1"; }; }
start() { "$root/launch/quickstart.sh" --dir "$dir" --steps 4 "$@"; }
has_figures_of() {  # this look's figures are in the page
  "$PYTHON" - "$dir/report.html" "$dir/looks/$1" <<'END' || failed "report.html without the figures of $1"
import json, pathlib, sys
page, look = (pathlib.Path(name) for name in sys.argv[1:])
for name in ("evaluate.json", "evaluate-blank-images.json"):
    result = json.loads((look / name).read_text())
    assert result["samples"] == 2000
    for metric in ("mlm_accuracy", "itm_accuracy"):
        assert f"<td>{result['metrics'][metric]:.3f}</td>" in page.read_text(), (name, metric)
END
}

start --images 200 >"$dir/interrupted.log" 2>&1 &
until grep -q "First training" "$dir/interrupted.log"; do
  kill -0 $! || { cat "$dir/interrupted.log"; failed "ended before it trained"; }
  sleep 0.1
done
start >"$dir/second.log" 2>&1 && failed "a second one was not refused"
expect "$dir/second.log" "another quickstart uses $dir"
kill -INT -- -$!
code=0
wait $! || code=$?
[ "$code" = 75 ] || [ "$code" = 130 ] || { cat "$dir/interrupted.log"; failed "Ctrl-C ended it with $code"; }
expect "$dir/interrupted.log" "the same command continues"

start --images 200 2>&1 | tee "$dir/first.log"
sed '/Training from step 2/,$d' "$dir/first.log" > "$dir/first-part.log"
expect "$dir/first-part.log" "There is something to look at"
expect "$dir/first-part.log" "after 2 steps: masked words filled in 0\\."
expect "$dir/first.log" "Training from step 2 to 4: [0-9.]* minutes"
expect "$dir/first.log" "finished after 4 steps"
expect "$dir/run/metrics.jsonl" mlm_loss
if grep -q itm_loss "$dir/run/metrics.jsonl"; then failed "ITM was trained in the first epochs"; fi
has_figures_of step-000000002
has_figures_of step-000000004

# The newest checkpoint counts, in whatever order a folder lists them.
mkdir -p "$dir"/run/checkpoints/step-00000000{0,1,3}
start --images 300 2>&1 | tee "$dir/again.log"
if grep -q "Training from" "$dir/again.log"; then failed "does not know that all steps are done"; fi
expect "$dir/again.log" "train has 200 scenes already"
expect "$dir/again.log" "after 4 steps: captions matched 0\\."
if grep -qE "pairs/s|itm_accuracy" "$dir/again.log"; then failed "trained or evaluated again"; fi
