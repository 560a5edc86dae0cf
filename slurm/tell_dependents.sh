#!/usr/bin/env bash
# slurm/tell_dependents.sh JOB REASON
#
# Writes the reason into the logs of the jobs that waited for the success of JOB, directly or through others. Slurm cancels
# them and gives only DependencyNeverSatisfied as the reason.
set -euo pipefail
expected='JOB REASON'
case ${1:-} in -h | --help) echo "tell_dependents.sh $expected"; exit 0 ;; esac
[ $# = 2 ] || { echo "tell_dependents.sh: expected $expected, found: $*" >&2; exit 2; }
job=$1 reason=$2

waiting() {  # jobs that wait for the success of job $1
  squeue -h -t PENDING -o '%A %E' | awk -v parent="${1%_*}" '
    { n = split($2, conditions, /[,?]/)
      for (i = 1; i <= n; i++) {
        split(conditions[i], part, /[:(_]/)
        if (part[1] ~ /^after(ok|corr)$/ && part[2] == parent) print $1
      } }' | sort -u
}
tell() {  # child, parent
  local log grandchild why="cancelled, because job $2 was to succeed first; job $job gave up: $reason"
  log=$(scontrol show job "$1" | sed -n 's/^ *StdOut=//p')
  echo "$(date '+%F %T') job $1: $why" | tee -a "$log" || true  # the others are told, whatever this log is
  for grandchild in $(waiting "$1"); do tell "$grandchild" "$1"; done
}
for child in $(waiting "$job"); do tell "$child" "$job"; done
