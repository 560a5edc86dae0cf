#!/usr/bin/env bash
# Pre-training, then fine-tuning for each task, then the evaluation of each, as jobs that wait for each other:
#
#   slurm/chain.sh RUNS [options of sbatch] --pretrain OPTIONS… [--TASK TEST OPTIONS…]…
#
# TASK is one of $tasks below, OPTIONS are those of pixelbert pretrain and finetune (--config, --data.shards, …), TEST is
# the shard folder to evaluate on; options of sbatch go to all jobs. Run folders are RUNS/pretrain, RUNS/vqa, …, scores are
# in RUNS/vqa.json, …, logs in RUNS/logs. Prints the number of each job. If a job fails for good, Slurm cancels the jobs
# that wait for it, and their logs give the reason.
set -euo pipefail
root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PIXELBERT_ROOT=$root
tasks='--vqa|--nlvr2|--retrieval'
expected="RUNS [options of sbatch] --pretrain OPTIONS… [$tasks TEST OPTIONS…]…"
usage() {
  echo "chain.sh: $1; expected $expected" >&2
  exit 2
}

# RUNS may also follow options of sbatch in the form --nodes=2.
first=()
while [[ ${1:-} = -* ]]; do
  case $1 in
    -h | --help) echo "chain.sh $expected"; exit 0 ;;
    --*=*) first+=("$1") ;;
    *) usage "no folder for the runs before $1" ;;
  esac
  shift
done
runs=${1:-}
[ -n "$runs" ] || usage "no folder for the runs"
shift

is_stage() { [[ $1 =~ ^(--pretrain|$tasks)$ ]]; }
take_words() {  # up to the next stage, into $words
  words=()
  while [ $# -gt 0 ] && ! is_stage "$1"; do
    words+=("$1")
    shift
  done
}

take_words "$@"
common=("${first[@]}" "${words[@]}")
shift ${#words[@]}

submit() {  # name, parent or nothing, script and its options
  local name=$1 after=()
  [ -z "$2" ] || after=(--dependency="afterok:$2" --kill-on-invalid-dep=yes)
  shift 2
  job=$(sbatch --parsable --job-name="$name" --output="$runs/logs/%x-%j.log" "${after[@]}" "${common[@]}" "$@")
  job=${job%%;*}  # the cluster's name follows if there are several
  echo "$job $name${after[*]:+ ${after[0]}}"
}

each_stage() {  # what to do with $stage and $words, the words of all stages
  local act=$1
  shift
  while [ $# -gt 0 ]; do
    stage=${1#--}
    shift
    take_words "$@"
    shift ${#words[@]}
    "$act"
  done
}

# All stages are checked before the first job is submitted. Anything but wrong usage (2) is left to the job.
check_options() {
  local code=0 said
  said=$("${PIXELBERT:-$root/build/bin/pixelbert}" "$@" --print-config 2>&1) || code=$?
  if [ "$code" = 2 ]; then
    echo "chain.sh: --$stage: $said" >&2
    exit 2
  fi
}
check_stage() {
  [[ " $checked " != *" $stage "* ]] || usage "--$stage twice: its run folder $runs/$stage can hold one"
  checked+=" $stage"
  if [ "$stage" = pretrain ]; then
    pretraining=expected
    check_options pretrain "${words[@]}" --run.dir "$runs/pretrain"
  else
    [ -n "$pretraining" ] || usage "--$stage before --pretrain"
    [[ ${#words[@]} -gt 0 && ${words[0]} != -* ]] || usage "--$stage: no shard folder to evaluate on"
    check_options finetune --task "$stage" --init none "${words[@]:1}" --run.dir "$runs/$stage"
  fi
}
submit_stage() {
  if [ "$stage" = pretrain ]; then
    submit pretrain '' "$root/slurm/pretrain.sbatch" "${words[@]}" --run.dir "$runs/pretrain"
    pretraining=$job
  else
    submit "$stage" "$pretraining" "$root/slurm/finetune.sbatch" --task "$stage" --init "$runs/pretrain" "${words[@]:1}" \
      --run.dir "$runs/$stage"
    submit "$stage-evaluate" "$job" "$root/slurm/evaluate.sbatch" --checkpoint "$runs/$stage" \
      --data.shards "${words[0]}" --out "$runs/$stage.json"
  fi
}

pretraining='' checked=''
each_stage check_stage "$@"
[ -n "$pretraining" ] || usage "no --pretrain"
mkdir -p "$runs/logs"
each_stage submit_stage "$@"
