#!/usr/bin/env bash
# From a fresh Debian 12 machine to a small Pixel-BERT that has learned to see: installs, builds, draws a procedural
# data set and pre-trains on two ranks. After the first steps it shows what was learned so far, in report.html: colours.
# Then it continues until shapes and matching captions are known, too. Started again, it continues where it stopped.
# Exit codes: 75 if Ctrl-C stopped a training or an evaluation, 130 if it stopped another stage; run the same command
# again after both.
#
#   launch/quickstart.sh [--dir DIR] [--images N] [--steps N]
#
#   --dir DIR     where the data, the run and the page go (runs/quickstart)
#   --images N    scenes to learn from (40000); a folder that has some keeps them
#   --steps N     of the whole training (2100); the first look comes after 250 of them, or halfway if there are no more
set -euo pipefail
root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$root/runs/quickstart
images=40000
first_steps=250
steps=2100
expected='[--dir DIR] [--images N] [--steps N]'
usage() {
  echo "quickstart.sh: $1; expected $expected" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
  esac
  case "$1" in
    --dir) dir=${2:-} ;;
    --images) images=${2:-} ;;
    --steps) steps=${2:-} ;;
    *) usage "unknown argument '$1'" ;;
  esac
  [ -n "${2:-}" ] || usage "$1 has no value"
  shift 2
done
[[ $steps =~ ^[1-9][0-9]*$ ]] || usage "--steps $steps is not a number of steps"
[ "$first_steps" -lt "$steps" ] || first_steps=$(((steps + 1) / 2))

mkdir -p "$dir"
exec 9>"$dir/quickstart.lock"  # children keep it open: what they do is not disturbed either
if ! flock -n 9; then
  echo "quickstart.sh: another quickstart uses $dir: wait for its end, or name another --dir" >&2
  exit 1
fi

# Ctrl-C reaches the running command as well, and bash comes here when that has ended.
interrupted() {
  local code=$1
  [ "$code" = 75 ] || code=130
  printf '\nquickstart.sh: stopped; %s keeps what is there, and the same command continues\n' "$dir" >&2
  exit "$code"
}
trap 'interrupted $?' INT

began=''
stage() {
  took
  printf '\n== %s\n' "$1"
  began=$SECONDS
}
took() { [ -z "$began" ] || echo "took $((SECONDS - began)) s"; }

stage "What is needed: packages of Debian and PyPI; nothing to do if they are there"
"$root/launch/setup.sh"
stage "Build"
(cd "$root" && cmake --preset cpu >/dev/null && cmake --build --preset cpu --target pixelbert)
pixelbert=$root/build/bin/pixelbert

if [ -f "$dir/train/manifest.json" ]; then
  found=$(grep -om 1 '"images": [0-9]*' "$dir/train/manifest.json" | cut -d ' ' -f 2)
  [ "$found" = "$images" ] ||
    echo "quickstart.sh: $dir/train has $found scenes already, which stay; for $images name another --dir"
  images=$found
fi
draw() {  # folder, images, seed, texts
  [ -f "$dir/$1/manifest.json" ] || "$pixelbert" shard scenes --out "$dir/$1" --count "$2" --seed "$3" --texts "$4"
}
stage "Scenes: draws $images images with captions to learn from, and others to test on"
draw test 500 2 4
for i in 1 2 3 4; do draw "unseen-$i" 1 "10$i" 4; done
draw train "$images" 1 4

# A training keeps its precision.
setting() { sed -n "s/^$1 = //p" "$dir/run/config.ini"; }
if [ -f "$dir/run/config.ini" ]; then
  precision=$(setting precision)
  if [ "$(setting mlm-epochs)" != 1 ]; then
    echo "quickstart.sh: $dir/run is of an earlier version, which trained otherwise: name another --dir" >&2
    exit 1
  fi
else
  stage "Precision: bf16 where this processor multiplies it faster than float32, which doctor measures"
  checks=$("$root/launch/local.sh" -n 2 "$pixelbert" doctor) || true  # what else it finds does not matter here
  precision=float32
  if grep -q "^ok *peak" <<< "$checks" && ! grep -q "bf16 is slower" <<< "$checks"; then precision=bf16; fi
  echo "trains in $precision"
fi

trained() {  # the step of the newest checkpoint, which is the last in a glob's order
  local folder step=0
  for folder in "$dir"/run/checkpoints/step-[0-9]*; do
    [ ! -d "$folder" ] || step=${folder##*step-}
  done
  echo $((10#$step))
}
# A resumed run gives the same bits, so two trainings are one.
train() {  # up to this step
  "$root/launch/local.sh" -n 2 "$pixelbert" pretrain --config "$root/configs/tiny.ini" \
    --data.shards "$dir/train" --run.dir "$dir/run" --train.steps "$1" --train.precision "$precision"
}
training_time() {  # up to this step, at the mean pace of the last 100 steps
  tail -n 100 "$dir/run/metrics.jsonl" | grep -o '"seconds":[0-9.e-]*' | cut -d : -f 2 |
    awk -v left=$(($1 - $(trained))) '{ sum += $1 } END { printf "%.1f minutes", sum / NR * left / 60 }'
}

colours='red|yellow|green|cyan|blue|purple|white|black'
sizes='small|medium|large'
shapes='circle|square|triangle|star|cross|heart|ring|diamond'
# Evaluates the newest checkpoint and lets it fill in words of four scenes, once for each checkpoint; writes report.html.
look() {
  local looked scene words text texts
  looked=$dir/looks/step-$(printf %09d "$(trained)")  # in the order of their names
  if [ ! -d "$looked" ]; then
    local began=$SECONDS
    rm -rf "$dir/looks/unfinished"
    mkdir -p "$dir/looks/unfinished"
    for blank in "" --blank-images; do
      "$root/launch/local.sh" -n 2 "$pixelbert" evaluate --task pretrain --checkpoint "$dir/run" \
        --data.shards "$dir/test" --out "$dir/looks/unfinished/evaluate${blank#-}.json" $blank
    done
    for scene in "$dir"/unseen-*; do
      texts=()
      for words in "$colours" "$sizes" "$shapes"; do
        text=$(sed -nE "s/\b($words)\b/[MASK]/p" "$scene/example.txt")
        [ -z "$text" ] || texts+=(--text "${text%%$'\n'*}")
      done
      "$pixelbert" predict --checkpoint "$dir/run" --image "$scene/example.jpg" "${texts[@]}" \
        > "$dir/looks/unfinished/${scene##*/}.txt"
      "$pixelbert" visualize --checkpoint "$dir/run" --image "$scene/example.jpg" \
        --text "$(head -n 1 "$scene/example.txt")" --layer 3 --out "$dir/looks/unfinished/${scene##*/}.png"
    done
    echo $((SECONDS - began)) > "$dir/looks/unfinished/seconds"
    mv "$dir/looks/unfinished" "$looked"
  fi
  python3 "$root/launch/report.py" "$dir"
}

if [ ! -f "$dir/report.html" ]; then
  if [ "$(trained)" -lt "$first_steps" ]; then
    stage "First training: $first_steps steps on two ranks, for a first look (its lines say what is left)"
    train "$first_steps"
  fi
  stage "First look: evaluates on new images and on blank ones, fills in words of four scenes"
  look
  echo "There is something to look at: $dir/report.html"
fi
if [ "$(trained)" -lt "$steps" ]; then
  stage "Training from step $(trained) to $steps: $(training_time "$steps") at the pace so far; Ctrl-C saves, and keeps what is there"
  train "$steps"
fi
stage "What was learned: the same look after the last step; the first one took $(cat "$dir"/looks/*/seconds | head -n 1) s"
look
took
