#!/usr/bin/env bash
# Installs what the tests need, builds, runs them.
#
#   tests/run.sh                 all tests
#   tests/run.sh unit mpi        the tests with these labels: unit, mpi, parity, e2e, cluster, monitoring, fuzz
#   tests/run.sh -L unit -R data   any other arguments go to ctest
#
# Only what the tests with the chosen labels need is installed: `unit` takes no Slurm, Chromium or CUDA wheels.
set -euo pipefail
root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

all=(unit mpi parity e2e cluster monitoring fuzz) labels=()
while [[ "${1:-}" =~ ^(unit|mpi|parity|e2e|cluster|monitoring|fuzz)$ ]]; do
  labels+=("$1")
  shift
done
arguments=("$@")
[ ${#labels[@]} = 0 ] || arguments+=(-L "^($(IFS='|'; echo "${labels[*]}"))\$")
while [ $# -gt 0 ]; do
  if [[ "$1" =~ ^(-L|--label-regex)$ ]]; then
    for label in "${all[@]}"; do
      if [[ "$label" =~ ${2:?a regular expression of labels} ]]; then labels+=("$label"); fi
    done
  fi
  shift
done

launch/setup.sh --tests "${labels[@]}"
# Where the libraries of the GPU plug-in are installed it must be built, or its tests would drop out unnoticed.
cuda=AUTO
[[ ! " ${labels[*]:-e2e} " =~ \ (parity|e2e|cluster|monitoring)\  ]] || cuda=ON
cmake --preset cpu -DPIXELBERT_TESTS=ON -DPIXELBERT_CUDA=$cuda >/dev/null
cmake --build --preset cpu
# Tests that keep both cores busy count as two, those that mostly wait as one: four at once fill two cores.
ctest --test-dir build --parallel 4 --output-on-failure --no-tests=error "${arguments[@]}"
