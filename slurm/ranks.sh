# shellcheck shell=bash disable=SC2154,SC2034  # job.sh has the other half
# Starts the ranks of a job, asks them to stop, and cleans up after a failed attempt. Sourced by job.sh;
# uses $root, $job, $launcher, $program, $command and $options.

ranks=''    # the launcher while it runs
session=''  # of the last launcher, with all processes that it has started on this node
copying=''  # stage.sh on all nodes

ask() {  # signal
  asked=$((asked + 1))
  say "SIG$1: asking the ranks to save and stop"
  [ -z "$ranks" ] || keep_asking "$ranks"
  [ -z "$copying" ] || kill "$copying" 2>/dev/null
  # Slurm does not requeue a job that has reached its time limit; it kills the job after KillWait.
  [ "$(state Reason)" != TimeLimit ] || requeue_stopped "the time limit has come before the ranks had saved"
}

start_ranks() {
  if [ "$launcher" = mpirun ]; then
    setsid "$root/launch/mpirun.sh" "$program" "$command" "${options[@]}" &
  else
    # Since 22.05 srun does not inherit the CPUs per task from the job.
    setsid srun --mpi=pmix --overlap --kill-on-bad-exit=1 \
      ${SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"} "$program" "$command" "${options[@]}" &
  fi
  ranks=$! session=$!
}

# Leaves the exit code in $code.
run_ranks() {
  start_ranks
  if [ "$asked" != 0 ]; then  # the request came since the last check, maybe when the ranks before were asked
    stop_asking
    keep_asking "$ranks"
  fi
  wait_for "$ranks"
  code=$? ranks=''
}

clear_away() {
  local step
  [ -z "$session" ] || pkill -KILL -s "$session"
  for step in $(timeout 30 squeue -h -s -j "$job" -o %i | grep -E '\.[0-9]+$'); do
    scancel --signal=KILL "$step" 2>/dev/null
  done
}

# Runs one process on each node, in addition to the ranks.
each_node=(srun --overlap --mpi=none --nodes="${SLURM_NNODES:-1}" --ntasks="${SLURM_NNODES:-1}" --ntasks-per-node=1)
nodes_answer() { timeout -k 5 60 "${each_node[@]}" true </dev/null; }
