# shellcheck shell=bash disable=SC2154,SC2034  # job.sh has the other half
# All calls to Slurm. Sourced by job.sh; uses $root, $run, $counted, $asked and $poll_seconds.

# A task of an array also knows the number of the whole array; using that would requeue all tasks.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-${SLURM_JOB_ID:-}}

say() { echo "$(date '+%F %T') job $job: $*"; }
stop_with() {  # exit code, message
  say "$2"
  exit "$1"
}
give_up() {  # exit code, reason
  say "gives up: $2"
  [ -z "$counted" ] || rm -f "$counted"  # scontrol requeue starts counting again
  [ -z "$job" ] || "$root/slurm/tell_dependents.sh" "$job" "$2"
  exit "$1"
}

state() { timeout 30 scontrol show job -o "$job" | grep -oE "\b$1=[^ ]*" | head -1 | cut -d = -f 2; }
end_of_allocation() { SLURM_TIME_FORMAT=%s timeout 30 squeue -h -j "$job" -o %e; }

requeue() {  # requeue|requeuehold, reason
  local facts pause
  for pause in 1 2 4 8 15 30 0; do  # a slurmctld that restarts does not answer
    facts=$(timeout 10 scontrol show job -o "$job")
    [ -z "$facts" ] || break
    sleep "$pause"
  done
  case $facts in  # COMPLETING when Slurm is ending it
    '' | *" JobState=RUNNING "* | *" Reason=TimeLimit "*) ;;
    *) stop_with 75 "$2; Slurm is ending the job (cancelled, or a node has failed) and decides whether to requeue it" ;;
  esac
  say "$2: scontrol $1"
  trap '' TERM USR1  # the requeue itself sends these, also to scontrol
  end_deadline
  scontrol "$1" "$job" || give_up 75 "not requeued (expected sbatch --requeue and a Slurm that answers): submit it again, and it resumes"
  exit 75
}

# Without preempt_send_user_signal Slurm signals a preemption only to the ranks.
preempted() { [[ $(state PreemptTime) = [0-9]* ]]; }
asked_to_stop() { [ "$asked" -gt 0 ] || preempted; }

# RUN/lock would keep out the ranks of a second job, but only after that job had changed RUN/deadline and other files.
claim_run() {
  local other=''
  [ -r "$run/slurm-job" ] && read -r other <"$run/slurm-job"
  if [ -n "$other" ] && [ "$other" != "$job" ]; then
    other=$(timeout 30 squeue -h -t RUNNING,SUSPENDED,COMPLETING -j "$other" -o '%i on %B since %S' 2>/dev/null)
    [ -z "$other" ] || give_up 1 "$run is in use by job $other: wait for its end, or give another --run.dir"
  fi
  echo "$job" >"$run/slurm-job"
}

# RUN/deadline, the end of the allocation, is updated while the job runs, because an administrator may change it.
write_deadline() {
  local end
  end=$(end_of_allocation)
  [[ $end =~ ^[0-9]+$ ]] || return 0  # no limit, or no answer
  echo "$end" >"$run/.deadline" && mv "$run/.deadline" "$run/deadline"
}
keep_deadline() {
  local sleeping=''
  trap 'kill $sleeping 2>/dev/null; exit' TERM
  while :; do
    sleep "$poll_seconds" &
    sleeping=$!
    wait "$sleeping"
    write_deadline
  done
}
start_deadline() {
  rm -f "$run/deadline"  # left by an allocation that ended abruptly
  write_deadline
  keep_deadline &
  keeper=$!
}
end_deadline() {
  [ -n "${keeper:-}" ] || return 0
  kill "$keeper" 2>/dev/null
  wait "$keeper"  # otherwise it could still write after the rm
  rm -f "$run/deadline" "$run/.deadline" "$run/slurm-job"
}
