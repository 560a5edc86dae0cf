#!/usr/bin/env bash
# Installs what the tests need, builds, runs them.
#
#   tests/run.sh                 all tests
#   tests/run.sh unit mpi        the tests with these labels: unit, mpi, parity, e2e, cluster, monitoring
#   tests/run.sh -L unit -R data other arguments go to ctest
#
# Only what the tests with the chosen labels need is installed: `unit` takes no Slurm, Chromium or CUDA wheels.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

all=(unit mpi parity e2e cluster monitoring fuzz) named=() labels=() arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    unit | mpi | parity | e2e | cluster | monitoring) named+=("$1") ;;
    -L | --label-regex)
      for label in "${all[@]}"; do
        if [[ "$label" =~ ${2:?a label} ]]; then labels+=("$label"); fi
      done
      arguments+=("$1" "$2")
      shift ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
if [ ${#named[@]} -gt 0 ]; then
  labels+=("${named[@]}")
  arguments+=(-L "^($(IFS='|'; echo "${named[*]}"))\$")
fi

launch/setup.sh --tests "${labels[@]}"
cmake --preset cpu -DPIXELBERT_TESTS=ON >/dev/null
cmake --build --preset cpu
# Tests that keep both cores busy count as two, those that mostly wait as one: four at once fill two cores.
ctest --test-dir build --parallel 4 --output-on-failure --no-tests=error "${arguments[@]}"
