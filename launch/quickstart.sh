#!/usr/bin/env bash
# From a fresh Debian 12 machine to a small Pixel-BERT that has learned to see: installs, builds, draws a procedural
# data set, pre-trains on two ranks and shows what was learned. A second run goes on where the first one ended.
#
#   launch/quickstart.sh [--dir DIR] [--pictures N] [--steps N]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$root/runs/quickstart
pictures=20000
steps=1500
expected='[--dir DIR] [--pictures N] [--steps N]'
usage() {
  echo "quickstart.sh: $1; expected $expected" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) echo "quickstart.sh $expected"; exit 0 ;;
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
  esac
  case "$1" in
    --dir) dir=${2:-} ;;
    --pictures) pictures=${2:-} ;;
    --steps) steps=${2:-} ;;
    *) usage "unknown argument '$1'" ;;
  esac
  [ -n "${2:-}" ] || usage "$1 has no value"
  shift 2
done
say() { printf '\n== %s\n' "$*"; }

say "What is needed"
"$root/launch/setup.sh"
say "Build"
(cd "$root" && cmake --preset cpu >/dev/null && cmake --build --preset cpu --target pixelbert)
pixelbert=$root/build/bin/pixelbert

if [ -f "$dir/train/manifest.json" ]; then
  found=$(grep -om 1 '"images": [0-9]*' "$dir/train/manifest.json" | cut -d ' ' -f 2)
  [ "$found" = "$pictures" ] ||
    echo "quickstart.sh: $dir/train has $found scenes already, which stay; for $pictures name another --dir"
  pictures=$found
fi
say "Shards: $pictures scenes to learn from, others to test on"
mkdir -p "$dir"
[ -f "$dir/train/manifest.json" ] || "$pixelbert" shard scenes --out "$dir/train" --count "$pictures" --seed 1
[ -f "$dir/test/manifest.json" ] || "$pixelbert" shard scenes --out "$dir/test" --count 500 --seed 2

# Twice as fast where the processor multiplies bfloat16, several times slower where it does not.
precision=float32
if grep -qE 'avx512_bf16|amx_bf16' /proc/cpuinfo; then precision=bf16; fi

say "Pre-training on two ranks (Ctrl-C saves and stops; the same command goes on)"
"$root/launch/local.sh" -n 2 "$pixelbert" pretrain --config "$root/configs/tiny.ini" \
  --data.shards "$dir/train" --run.dir "$dir/run" --train.steps "$steps" --train.precision "$precision"

say "What it learned: scenes it has never seen"
for blank in "" --blank-images; do
  "$root/launch/local.sh" -n 2 "$pixelbert" evaluate --task pretrain --checkpoint "$dir/run" --data.shards "$dir/test" \
    --out "$dir/evaluate${blank#-}.json" $blank
done
say "One of them: $(paste -sd '|' "$dir/test/example.txt" | sed 's/|/ | /g')"
"$pixelbert" predict --checkpoint "$dir/run" --image "$dir/test/example.jpg" \
  --text "$(head -1 "$dir/test/example.txt" | sed -E 's/\b(red|yellow|green|cyan|blue|purple|white|black)\b/[MASK]/')"
