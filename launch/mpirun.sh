#!/usr/bin/env bash
# launch/mpirun.sh [options of mpirun] program …
#
# mpirun with the settings of env.sh. SIGTERM, SIGUSR1 and the first Ctrl-C ask the ranks, on all hosts, to save a
# checkpoint and stop, from the first line on: exit code 75. A second Ctrl-C ends them at once, with 130. mpirun alone
# would kill them. Ends with the exit code of the ranks, even if nobody reads their output. local.sh and hosts.sh
# source this file, with traps like these.
[ "${BASH_SOURCE[0]}" != "$0" ] || { asked=0; trap 'asked=1' INT TERM USR1; }
# shellcheck disable=SC2317  # traps call functions that look unused
set +e -uo pipefail
here=${BASH_SOURCE[0]%"${BASH_SOURCE[0]##*/}"}  # no command before mpirun, as in local.sh
. "${here:-./}env.sh" || exit 2
. "${here:-./}ask.sh"

# With a closed descriptor, mpirun would hang at its end.
[ -e /proc/self/fd/0 ] || exec </dev/null
[ -e /proc/self/fd/1 ] || exec >/dev/null
[ -e /proc/self/fd/2 ] || exec 2>/dev/null

job='' interrupts=0
ask() {
  asked=1
  [ -z "$job" ] || keep_asking "$job"  # mpirun forwards SIGUSR1 to the ranks that have started
}
interrupt() {
  interrupts=$((interrupts + 1))
  if [ "$interrupts" = 1 ]; then
    echo "Ctrl-C: the ranks are asked to save and stop; a second one ends them at once" >&2
    ask
  else
    end_now
  fi
}
end_now() {
  local ranks tenth
  stop_asking
  ranks=$(ps -o pid=,comm= --ppid "$job" | awk '$2 !~ /^(ssh|rsh|srun)$/ { print $1 }')
  # If a rank has died, mpirun ends the job on all hosts. If no rank is on this host, SIGHUP makes it do so.
  # shellcheck disable=SC2086  # one word per rank
  if [ -n "$ranks" ]; then kill -KILL $ranks; else kill -HUP "$job"; fi
  for ((tenth = 0; tenth < 50; tenth++)); do
    kill -0 "$job" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$job" 2>/dev/null
  exit 130
}

# mpirun passes OMPI_MCA_* to other hosts itself. HDF5_USE_FILE_LOCKING is for file systems without locks.
# CUDA_VISIBLE_DEVICES stays here: it numbers the GPUs of this host.
exports=()
while read -r name; do
  [[ $name =~ ^(CUBLAS_|CUDA_|HDF5_|LD_LIBRARY_PATH$|NCCL_|OMP_|PIXELBERT_|PYTORCH_|TORCH_) ]] || continue
  [ "$name" = CUDA_VISIBLE_DEVICES ] || [ -z "${!name}" ] || exports+=(-x "$name")
done < <(compgen -e)

trap : PIPE  # the output of this script may have no reader either
trap interrupt INT
catch_requests() { trap ask TERM USR1; }
catch_requests
if [ "$asked" = 1 ]; then
  echo "asked to stop before the ranks were started: run the same command again" >&2
  exit 75
fi
# SIGTERM and SIGINT are often sent to a whole process group, and a closed pipe must not make the ranks fail. Open MPI
# unblocks these signals in the ranks.
env --block-signal=INT,TERM,PIPE mpirun "${exports[@]}" "$@" &
job=$!
[ "$asked" = 0 ] || ask
wait_for "$job"
code=$?
[ "$code" != 125 ] || echo "mpirun.sh: expected coreutils 8.31 or newer (env --block-signal), found $(env --version | head -n 1)" >&2
exit "$code"
