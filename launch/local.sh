#!/usr/bin/env bash
# launch/local.sh -n N pixelbert pretrain --config configs/tiny.ini …
#
# N ranks on this machine, each with its share of the cores (OMP_NUM_THREADS, unless it is set). "pixelbert" is
# build/bin/pixelbert, or the program that PIXELBERT names; any other program is used as given. SIGTERM, SIGUSR1 and Ctrl-C ask the
# ranks to save a checkpoint and stop; a second Ctrl-C ends them at once. Ends with the exit code of the ranks: 75 means
# run the same command again.
asked=0; trap 'asked=1' INT TERM USR1  # from the first line on; mpirun.sh continues with it
set -euo pipefail
# While bash waits for a command, it may attribute Ctrl-C to that command. So no command runs before mpirun.
here=${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}
here=${here:-./}
expected='-n N program arguments…'
wrong_usage() {
  echo "local.sh: expected $expected, found: $1" >&2
  exit 2
}

ranks=''
words="$*"
while [[ ${1:-} = -* ]]; do
  case $1 in
    -h | --help)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    -n) ranks=${2:-}; shift $(($# > 1 ? 2 : 1)) ;;
    -n=* | -n[0-9]*) ranks=${1#-n}; ranks=${ranks#=}; shift ;;
    *) wrong_usage "$words" ;;
  esac
done
[[ $ranks =~ ^[1-9][0-9]*$ && $# -ge 1 ]] || wrong_usage "$words"
program=$1
shift
[ "$program" = pixelbert ] && program=${PIXELBERT:-${here}../build/bin/pixelbert}
if ! type -P "$program" >/dev/null; then
  echo "local.sh: no program $program: build it (cmake --preset cpu && cmake --build --preset cpu)" >&2
  exit 2
fi

read -r cores < <(exec env -u OMP_NUM_THREADS nproc) || cores=1
threads=$((cores / ranks))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
export PIXELBERT_ONE_HOST=1
. "${here}mpirun.sh" -n "$ranks" "$program" "$@"
