#!/usr/bin/env bash
# monitoring/link_targets.sh RUNS TARGETS
#
# Keeps in the folder TARGETS a link NAME.json to the monitoring/targets.json of every run folder RUNS/NAME (or
# RUNS/CHAIN/NAME, as CHAIN:NAME), because Prometheus' file_sd takes a wildcard in the name of a file only, not of a folder.
# RUNS/a-b and RUNS/a/b are two runs, hence the colon. Runs until it is stopped.
set -euo pipefail
shopt -s nullglob
if [ $# != 2 ] || [ ! -d "$1" ]; then
  echo "link_targets.sh: expected a folder of runs and a folder for links, found: $*" >&2
  exit 2
fi
runs=$(realpath "$1") targets=$2
mkdir -p "$targets"

while true; do
  for list in "$runs"/*/monitoring/targets.json "$runs"/*/*/monitoring/targets.json; do
    name=${list#"$runs"/} name=${name%/monitoring/targets.json}
    link=$targets/${name//\//:}.json
    [ -e "$link" ] || ln -sfn "$list" "$link"
  done
  for link in "$targets"/*.json; do
    [ -e "$link" ] || rm -f "$link"  # the run folder is gone
  done
  sleep 2
done
