#!/usr/bin/env bash
# monitoring/link_targets.sh RUNS TARGETS
#
# Keeps in the folder TARGETS a link NAME.json to the monitoring/targets.json of every run folder RUNS/NAME (or
# RUNS/CHAIN/NAME, as CHAIN:NAME), because Prometheus' file_sd accepts a wildcard in the name of a file but not of a folder.
# The colon keeps RUNS/a-b and RUNS/a/b apart; a colon in the name of a folder becomes %3A. If a job was killed, its list stays
# and may name the address of a later job. So only the newest list that names an address is linked. Runs until it is stopped.
set -euo pipefail
shopt -s nullglob
usage() {
  echo "link_targets.sh: $1; expected RUNS TARGETS, a folder of runs and one for links" >&2
  exit 2
}

folders=()
for word in "$@"; do
  case $word in
    -h | --help)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    -*) usage "unknown option $word (a folder of that name: ./$word)" ;;
    *) folders+=("$word") ;;
  esac
done
[ ${#folders[@]} = 2 ] || usage "found ${#folders[@]} folders (${folders[*]})"
[ -d "${folders[0]}" ] || usage "no folder of runs '${folders[0]}'"
runs=$(realpath "${folders[0]}") targets=${folders[1]}
mkdir -p "$targets"

addresses_of() {  # list; into $addresses
  local text
  text=$(<"$1") || text=''  # it may have gone
  addresses=()
  while [[ $text =~ \"targets\":[[:space:]]*\[[[:space:]]*\"([^\"]*)\" ]]; do
    addresses+=("${BASH_REMATCH[1]}")
    text=${text#*"${BASH_REMATCH[0]}"}
  done
}

while true; do
  lists=("$runs"/*/monitoring/targets.json "$runs"/*/*/monitoring/targets.json)
  declare -A newest=()  # by address
  for list in "${lists[@]}"; do
    addresses_of "$list"
    for address in "${addresses[@]}"; do
      [ "${newest[$address]:-}" -nt "$list" ] || newest[$address]=$list
    done
  done
  for list in "${lists[@]}"; do
    name=${list#"$runs"/} name=${name%/monitoring/targets.json}
    name=${name//'%'/%25} name=${name//:/%3A}
    link=$targets/${name//\//:}.json
    addresses_of "$list"
    for address in "${addresses[@]}"; do
      [ "${newest[$address]:-$list}" = "$list" ] && continue
      rm -f "$link"
      continue 2
    done
    [ "$link" -ef "$list" ] || ln -sfn "$list" "$link"
  done
  for link in "$targets"/*.json; do
    [ -e "$link" ] || rm -f "$link"  # the run folder is gone
  done
  sleep 2
done
