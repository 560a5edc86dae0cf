#!/usr/bin/env bash
# launch/hosts.sh --hostfile FILE [-n N | --per-host N] pixelbert pretrain --config configs/pretrain-r50.ini …
#
# Ranks on the hosts of an Open MPI host file (lines "host slots=8"): one per slot, or N in all (-n), or N on each host (--per-host).
# mpirun connects to the hosts by ssh without a password. The program, working folder, data and configuration files have the
# same path on all of them. PIXELBERT_TCP_INTERFACE names the network between them (env.sh). For "pixelbert", signals, Ctrl-C and
# the exit code see local.sh.
asked=0; trap 'asked=1' INT TERM USR1  # from the first line on; mpirun.sh continues with it
set -euo pipefail
here=${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}  # no command before mpirun, as in local.sh
here=${here:-./}
expected='--hostfile FILE [-n N | --per-host N] program arguments…'
usage() {
  echo "hosts.sh: $1; expected $expected" >&2
  exit 2
}

hostfile='' ranks=()
while [[ ${1:-} = -* ]]; do
  case $1 in
    -h | --help)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    -*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
  esac
  [ $# -ge 2 ] || usage "$1 has no value"
  case $1 in
    --hostfile) hostfile=$2 ;;
    -n | --per-host)
      [[ $2 =~ ^[1-9][0-9]*$ ]] || usage "$1: found '$2'"
      [ ${#ranks[@]} = 0 ] || usage "-n and --per-host together"
      if [ "$1" = -n ]; then ranks=(-n "$2"); else ranks=(--map-by "ppr:$2:node"); fi
      ;;
    *) usage "unknown option $1" ;;
  esac
  shift 2
done
[ -r "$hostfile" ] || usage "no host file '$hostfile'"
[ $# -ge 1 ] || usage "no program"
program=$1
shift
[ "$program" = pixelbert ] && program=${PIXELBERT:-${here}../build/bin/pixelbert}
type -P "$program" >/dev/null || usage "no program $program"
read -r program < <(realpath "$(type -P "$program")") || [ "$asked" = 1 ]
. "${here}mpirun.sh" --hostfile "$hostfile" --wdir "$PWD" "${ranks[@]}" "$program" "$@"
