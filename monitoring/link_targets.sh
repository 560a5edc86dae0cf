#!/usr/bin/env bash
# monitoring/link_targets.sh RUNS TARGETS
#
# Keeps in the folder TARGETS a link NAME.json to the monitoring/targets.json of every run folder RUNS/NAME (or
# RUNS/CHAIN/NAME, as CHAIN:NAME), because Prometheus' file_sd accepts a wildcard in the name of a file but not of a folder.
# The colon keeps RUNS/a-b and RUNS/a/b apart; a colon in the name of a folder becomes %3A. If a job was killed, its list stays
# and may name the endpoint of a later job. So only the newest list that names an address, or a host and port, is linked: the
# address may be 127.0.0.1 in one list and the host in another. A list with a loopback address of another host is not linked,
# because that address leads to this host. Runs until it is stopped.
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

here=$(uname -n)
declare -A texts=() parsed=()  # by list
# The address and HOST:PORT of each rank into $endpoints, or only "elsewhere HOST" if it has a loopback address of another host.
endpoints_of() {  # list
  local text
  text=$(<"$1") || text=''  # it may have gone
  if [ "${texts[$1]-}" != "$text" ]; then
    texts[$1]=$text
    parsed[$1]=$(awk -v RS='"targets":' -v here="$here" '
      NR > 1 && match($0, /^[ \t\r\n]*\[[ \t\r\n]*"[^"]*"/) {
        split(substr($0, 1, RLENGTH), part, "\"")
        address = port = part[2]
        sub(/.*:/, "", port)
        host = ""
        if (match($0, /"host":[ \t\r\n]*"[^"]*"/)) {
          split(substr($0, RSTART, RLENGTH), part, "\"")
          host = part[4]
        }
        if (address ~ /^(127\.|localhost:|\[::1\])/ && host != here) elsewhere = host
        all = all address "\n" host ":" port "\n"
      }
      END { if (elsewhere != "") print "elsewhere " elsewhere; else printf "%s", all }' <<<"$text")
  fi
  endpoints=()
  [ -z "${parsed[$1]-}" ] || mapfile -t endpoints <<<"${parsed[$1]}"
}

declare -A warned=()  # by list
while true; do
  lists=("$runs"/*/monitoring/targets.json "$runs"/*/*/monitoring/targets.json)
  declare -A newest=()  # by endpoint
  for list in "${lists[@]}"; do
    endpoints_of "$list"
    for endpoint in "${endpoints[@]}"; do
      [ "${newest[$endpoint]:-}" -nt "$list" ] || newest[$endpoint]=$list
    done
  done
  for list in "${lists[@]}"; do
    name=${list#"$runs"/} name=${name%/monitoring/targets.json}
    name=${name//'%'/%25} name=${name//:/%3A}
    link=$targets/${name//\//:}.json
    endpoints_of "$list"
    if [[ ${endpoints[0]-} = elsewhere\ * ]]; then
      [ -n "${warned[$list]-}" ] || echo "link_targets.sh: $list is left out: its ranks listen at a loopback address of" \
        "${endpoints[0]#* }, and this host is $here; start the job with --metrics.address 0.0.0.0, or watch it there" >&2
      warned[$list]=1
      rm -f "$link"
      continue
    fi
    for endpoint in "${endpoints[@]}"; do
      [ "${newest[$endpoint]:-$list}" = "$list" ] && continue
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
