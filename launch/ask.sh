# shellcheck shell=bash disable=SC2154  # the sourcing script sets $asked
# A request to stop on its way to the ranks. Sourced by mpirun.sh and slurm/job.sh, which define catch_requests: it sets
# their traps for SIGTERM and SIGUSR1.

asking=''
# Sends SIGUSR1 to a process until it ends, at intervals of a fifth of the time so far: mpirun drops signals that arrive before
# there are ranks, and ranks that start later need longer than one interval for their first step.
keep_asking() {  # process
  [ -z "$asking" ] || return 0
  # Batch systems signal the whole process group, more than once. Only what is ignored here is ignored in the copy from its
  # first instruction on; a trap set there would come too late.
  trap '' TERM USR1
  {
    trap 'kill -KILL "$pause" 2>/dev/null; exit' USR2
    tenths=2 pause=''
    while kill -USR1 "$1"; do
      sleep "$((tenths / 10)).$((tenths % 10))" &
      pause=$!
      wait "$pause"
      tenths=$((tenths + tenths / 4 + 1))
    done
  } </dev/null >/dev/null 2>&1 &
  asking=$!
  catch_requests
}
stop_asking() {
  [ -z "$asking" ] || kill -USR2 "$asking" 2>/dev/null
  asking=''
}

# The exit code of a process that may have been asked to stop. A process killed by such a signal had not begun, because
# a rank catches these signals before it trains. 255 is mpirun's code for a rank that was killed between fork and exec.
wait_for() {  # process
  local code
  while :; do  # a trap ends wait
    wait "$1"
    code=$?
    kill -0 "$1" 2>/dev/null || break
  done
  wait "$1"  # a trap may have ended the last one, too; the shell still knows the code
  code=$?
  stop_asking
  [ "$asked" = 0 ] || [[ ! $code =~ ^(130|138|143|255)$ ]] || code=75
  return "$code"
}
