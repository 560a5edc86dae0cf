#!/usr/bin/env bash
# Labels decide what tests/run.sh installs: the unit tests need no Slurm, Chromium or CUDA wheels.
set -euo pipefail
root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# tests/run.sh in a tree whose setup.sh only lists, and whose cmake and ctest only print their arguments.
mkdir "$scratch"/{tests,launch,bin}
cp "$root/tests/run.sh" "$scratch/tests"
printf '#!/bin/sh\nexec "%s" --list "$@"\n' "$root/launch/setup.sh" > "$scratch/launch/setup.sh"
for program in cmake ctest; do printf '#!/bin/sh\necho "%s $*"\n' $program > "$scratch/bin/$program"; done
chmod +x "$scratch/launch/setup.sh" "$scratch"/bin/*

# A copied checkout, whose bin/pip belongs to the old one: its own Python gets the packages.
mkdir -p "$scratch"/copy/{launch,bin,.deps/venv/bin}
cp "$root/launch/setup.sh" "$scratch/copy/launch"
printf '#!/bin/sh\necho installed\n' > "$scratch/copy/bin/dpkg-query"
printf '#!/bin/sh\necho "$*" >> "%s"\n' "$scratch/pip.log" > "$scratch/copy/.deps/venv/bin/python"
printf '#!/no/python\n' > "$scratch/copy/.deps/venv/bin/pip"
chmod +x "$scratch"/copy/{bin/dpkg-query,.deps/venv/bin/*}
PATH="$scratch/copy/bin:$PATH" "$scratch/copy/launch/setup.sh" > "$scratch/copy.log"
grep -q -- "-m pip install .*torch==" "$scratch/pip.log" || { echo "setup.sh: not installed by the copy's Python" >&2; exit 1; }

check() {  # check PRESENT ABSENT ARGUMENTS...: words that must and must not be in the output of run.sh
  local present=$1 absent=$2
  shift 2
  local output
  output=$(PATH="$scratch/bin:$PATH" "$scratch/tests/run.sh" "$@")
  check_output "$present" "$absent" "run.sh $*" "$output"
}
check_output() {  # PRESENT ABSENT COMMAND OUTPUT
  local word
  for word in $1; do grep -qFe "$word" <<<"$4" || { echo "$3: no $word in: $4" >&2; exit 1; }; done
  for word in $2; do ! grep -qFe "$word" <<<"$4" || { echo "$3: $word in: $4" >&2; exit 1; }; done
}
big="slurmctld chromium prometheus-alertmanager torchvision clang-19"
check "libgtest-dev clang-format $big" "-L"
check "libgtest-dev clang-format ^(unit)$" "$big iproute2" unit
check "libgtest-dev clang-format iproute2 ^(unit|mpi)$" "$big" unit mpi
check "libgtest-dev clang-format -L -R" "$big" -L unit -R data
check "torchvision prometheus-alertmanager" "slurmctld" -L monitoring
check "$big -R" "-L" -R data
check "$big -R unit" "-L" -R unit
check_output "libopenmpi-dev torch==2.11.0 nvidia-cuda-crt" "$big libgtest-dev" "setup.sh --gpu" \
  "$("$root/launch/setup.sh" --list --gpu)"
check_output libopenmpi-dev nvidia-cuda-crt setup.sh "$("$root/launch/setup.sh" --list)"
