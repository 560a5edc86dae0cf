#!/usr/bin/env bash
# slurm/job.sh pretrain|finetune|evaluate options…
#
# The body of a batch job: runs `pixelbert command options` on one rank per task of the allocation. The exit code decides
# what happens then.
#
#   0      done
#   2      wrong usage or configuration: not tried again
#   75     stopped with a checkpoint. If the scheduler asked (warning signal, preemption, end of the allocation): requeued, and
#          the next start resumes; an evaluation starts from the beginning. If a user asked (RUN/stop, which the ranks have
#          renamed to RUN/stopped): requeued and held, until scontrol release.
#   other  tried again from the last checkpoint, or requeued if a node does not respond
#
# Gives up after PIXELBERT_MAX_RETRIES (3) retries without a new checkpoint. Failures count, and so do stops that were not
# preemptions: they mean that an allocation is too short for a step and a save, or for the whole evaluation.
#
#   PIXELBERT_LAUNCHER=srun     srun --mpi=pmix instead of mpirun (README.md)
#   PIXELBERT_STAGE=DIR         each --data.shards is copied to DIR on every node, and read there
#   PIXELBERT_POLL_SECONDS=60   how often Slurm is asked for the end of the allocation
asked=0; trap 'asked=$((asked + 1))' TERM USR1  # how often the scheduler has asked to stop, from the first line on
set -uo pipefail
root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What the sourced files use, too. Attempts without progress are counted through requeues: in the run folder or, for an
# evaluation and as long as the run folder is not known, in the folder of submission.
run=''      # the run folder, once it is known
counted=''  # the file of the count
stored=1    # 0: the last count is only in memory
began=0     # the checkpoint of the last start
failures=0 failed_step=-1
. "$root/launch/ask.sh"
. "$root/slurm/scheduler.sh"
. "$root/slurm/ranks.sh"

command=${1:-}
case $command in
  -h | --help) echo "job.sh pretrain|finetune|evaluate options…"; exit 0 ;;
  pretrain | finetune | evaluate) shift ;;
  *) give_up 2 "expected job.sh pretrain, finetune or evaluate and options, found '$*'" ;;
esac
options=("$@")
[ -n "$job" ] || give_up 2 "expected to run in a job of Slurm, found no SLURM_JOB_ID: sbatch slurm/$command.sbatch"
. "$root/launch/env.sh" || give_up 2 "wrong settings"
launcher=${PIXELBERT_LAUNCHER:-mpirun}
[[ $launcher = mpirun || $launcher = srun ]] ||
  give_up 2 "PIXELBERT_LAUNCHER: expected mpirun or srun, found '$launcher'"
program=${PIXELBERT:-$root/build/bin/pixelbert}
[ -x "$program" ] || give_up 2 "no program $program: build it, or name it in PIXELBERT"
max_retries=${PIXELBERT_MAX_RETRIES:-3}
[[ $max_retries =~ ^[0-9]{1,9}$ ]] || give_up 2 "PIXELBERT_MAX_RETRIES: expected a number, found '$max_retries'"
poll_seconds=${PIXELBERT_POLL_SECONDS:-60}
[[ $poll_seconds =~ ^([0-9]+|[0-9]*\.[0-9]+)$ && $poll_seconds = *[1-9]* ]] ||
  give_up 2 "PIXELBERT_POLL_SECONDS: expected a number above 0, found '$poll_seconds'"

values_of() {  # section key; quotes around values are as in src/config/ini_file.h
  LC_ALL=C awk -v section="[$1]" -v key="$2 = " '
    /^\[/ { here = $0 == section }
    here && index($0, key) == 1 { print substr($0, length(key) + 1) }' <<<"$resolved" |
    LC_ALL=C sed '/^"/ { s/^"//; s/"$//; s/\\\(["\\]\)/\1/g; }'
}

stage() {
  local folder copy kept=() i
  for ((i = 0; i < ${#options[@]}; i++)); do
    case ${options[i]} in
      --data.shards) i=$((i + 1)) ;;
      --data.shards=*) ;;
      *) kept+=("${options[i]}") ;;
    esac
  done
  while IFS= read -r folder; do
    copy=$PIXELBERT_STAGE/$(basename "$folder")-$(cksum <"$folder/manifest.json" | cut -d ' ' -f 1)
    [ "$asked" = 0 ] || requeue_stopped "asked to stop before the shards were on every node"
    "${each_node[@]}" "$root/slurm/stage.sh" "$program" "$folder" "$copy" </dev/null &
    copying=$!
    if ! wait_for "$copying"; then
      [ "$asked" = 0 ] || continue
      give_up 1 "$folder is not on every node as $copy"
    fi
    copying=''
    kept+=(--data.shards "$copy")
  done < <(values_of data shards)
  options=("${kept[@]}")
}

saved_step() {  # not by the link `latest`, which a copied run or another file system may lack
  local folder step=0
  for folder in "$run"/checkpoints/step-[0-9]*; do
    [ ! -d "$folder" ] || step=${folder##*step-}
  done
  echo $((10#$step))
}

count_in() {  # file. Read only here: if it cannot be written later, the count in memory is the newer one
  local line=''
  counted=$1
  [ ! -r "$counted" ] || read -r line <"$counted"
  [[ ! $line =~ ^"$job "([0-9]+)" "([0-9]+)$ ]] || failures=${BASH_REMATCH[1]} failed_step=${BASH_REMATCH[2]}
}
count_failure() {
  local step=0
  [ -z "$run" ] || step=$(saved_step)
  [ "$step" = "$failed_step" ] || failures=0
  failures=$((failures + 1)) failed_step=$step stored=1
  # A full disk would leave an empty file.
  { echo "$job $failures $failed_step" >"$counted.new" && mv "$counted.new" "$counted"; } || { rm -f "$counted.new"; stored=0; }
}
requeue_counted() {  # reason
  [ "$stored" = 1 ] ||
    give_up 1 "$1; not requeued, because $counted cannot be written and the attempts could not be counted: see to the disk and submit it again"
  requeue requeue "$1"
}

requeue_stopped() {  # reason. Stopped for the scheduler
  if { [ -z "$run" ] || [ "$(saved_step)" = "$began" ]; } && ! preempted; then
    count_failure
    if [ "$failures" -gt "$max_retries" ]; then
      local why="without a checkpoint after step $failed_step: a start, a step and a save need more time (--time)"
      [ "$command" != evaluate ] || why="before its end: it starts from the beginning each time and needs more time (--time) or more tasks"
      give_up 1 "stopped $failures times $why; the last time: $1"
    fi
    requeue_counted "$1"
  fi
  requeue requeue "$1"
}

try_again() {  # exit code, of what
  ! asked_to_stop || requeue_stopped "asked to stop, $2 ended with exit code $1"
  clear_away
  count_failure
  [ "$failures" -le "$max_retries" ] ||
    give_up 1 "failed $failures times without a checkpoint after step $failed_step, the last time with exit code $1"
  say "$2 ended with exit code $1: retry $failures of $max_retries without a checkpoint after step $failed_step"
  nodes_answer || requeue_counted "a node does not answer"
  # Only the first retry is immediate. On a node that has come back, Slurm keeps killing all processes of a job while an old
  # process of the job is left (seen for half a minute).
  [ "$asked" -gt 0 ] || { sleep $((30 * (failures - 1))) & wait $!; }
}

catch_requests() {
  trap 'ask USR1' USR1
  trap 'ask TERM' TERM
}
catch_requests
count_in "slurm-failures-$job"
# Resolves command line and configuration files; a mistake in them ends the job here.
until resolved=$("$program" "$command" "${options[@]}" --print-config); do
  code=$?
  [ "$code" != 2 ] || give_up 2 "wrong usage or configuration"
  try_again "$code" "$command --print-config"
done
[ "$command" = evaluate ] || run=$(values_of run dir)
if [ -n "$run" ]; then
  until mkdir -p "$run"; do try_again $? "mkdir -p $run"; done
  claim_run
  rm -f "$counted"
  count_in "$run/slurm-failures"
  rm -f "$run/stopped"  # left by an earlier stop; the job has been released since
  trap end_deadline EXIT
  start_deadline
  began=$(saved_step)
fi
[ -z "${PIXELBERT_STAGE:-}" ] || stage

while :; do
  [ -z "$run" ] || began=$(saved_step)
  [ "$asked" = 0 ] || requeue_stopped "asked to stop before the ranks were started"
  from=''
  [ -z "$run" ] || from=", checkpoint of step $began"
  say "$launcher on $SLURM_JOB_NODELIST$from"
  run_ranks

  case $code in
    0)
      rm -f "$counted"
      stop_with 0 "done"
      ;;
    2) give_up 2 "wrong usage or configuration (exit code 2)" ;;
    75)
      if [ -n "$run" ] && [ -e "$run/stopped" ]; then
        requeue requeuehold "the ranks have stopped because a user asked; 'scontrol release $job' continues"
      fi
      requeue_stopped "the ranks have stopped for the scheduler"
      ;;
  esac
  try_again "$code" "the ranks"
done
