#!/usr/bin/env bash
# Labels decide what tests/run.sh installs: the unit tests need no Slurm, Chromium or CUDA wheels.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# tests/run.sh in a tree whose setup.sh only lists, and whose cmake and ctest only print their arguments.
mkdir "$scratch"/{tests,launch,bin}
cp "$root/tests/run.sh" "$scratch/tests"
printf '#!/bin/sh\nexec "%s" --list "$@"\n' "$root/launch/setup.sh" > "$scratch/launch/setup.sh"
for program in cmake ctest; do printf '#!/bin/sh\necho "%s $*"\n' $program > "$scratch/bin/$program"; done
chmod +x "$scratch/launch/setup.sh" "$scratch"/bin/*

check() {  # check PRESENT ABSENT ARGUMENTS...: words that must and must not be in the output
  local present=$1 absent=$2 word output
  shift 2
  output=$(PATH="$scratch/bin:$PATH" "$scratch/tests/run.sh" "$@")
  for word in $present; do grep -qFe "$word" <<<"$output" || { echo "run.sh $*: no $word in: $output" >&2; exit 1; }; done
  for word in $absent; do ! grep -qFe "$word" <<<"$output" || { echo "run.sh $*: $word in: $output" >&2; exit 1; }; done
}
big="slurmctld chromium prometheus-alertmanager torchvision clang-19"
check "libgtest-dev clang-format $big" "-L"
check "libgtest-dev clang-format ^(unit)$" "$big iproute2" unit
check "libgtest-dev clang-format iproute2 ^(unit|mpi)$" "$big" unit mpi
check "libgtest-dev clang-format -L -R" "$big" -L unit -R data
check "torchvision prometheus-alertmanager" "slurmctld" -L monitoring
check "$big -R" "-L" -R data
check "$big -R unit" "-L" -R unit
