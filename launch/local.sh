#!/usr/bin/env bash
# launch/local.sh -n N pixelbert pretrain --config configs/tiny.ini …
#
# N ranks on this machine, each with its share of the cores (OMP_NUM_THREADS, unless it is set). "pixelbert" is
# build/bin/pixelbert, or what PIXELBERT names; any other program is taken as it is. SIGTERM and SIGUSR1 ask the ranks
# to save a checkpoint and stop. Ends with the exit code of the ranks: 75 means run me again.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if ! [[ ${1:-} = -n && ${2:-} =~ ^[1-9][0-9]*$ && $# -ge 3 ]]; then
  echo "local.sh: expected -n N program arguments…, found: $*" >&2
  exit 2
fi
ranks=$2 program=$3
shift 3
[ "$program" = pixelbert ] && program=${PIXELBERT:-$here/../build/bin/pixelbert}
if ! command -v "$program" >/dev/null; then
  echo "local.sh: no program $program: build it (cmake --preset cpu && cmake --build --preset cpu)" >&2
  exit 2
fi

threads=$(($(env -u OMP_NUM_THREADS nproc) / ranks))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
export PIXELBERT_ONE_HOST=1
exec "$here/mpirun.sh" -n "$ranks" "$program" "$@"
