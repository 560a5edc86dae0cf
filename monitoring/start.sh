#!/usr/bin/env bash
# monitoring/start.sh [--port P] [--state DIR] RUNS
#
# Starts Prometheus on port P (9090) of this host and Alertmanager on P + 3, with the rules and the console of this folder, for
# the run folders in RUNS. Their data is in DIR (RUNS/.monitoring) and is kept for 90 days. They listen on the loopback
# address; from another machine: ssh -L 9090:localhost:9090 THIS-HOST. Runs until it is stopped.
set -euo pipefail
here=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage() {
  echo "start.sh: $1; expected [--port P] [--state DIR] RUNS" >&2
  exit 2
}

port=9090 state='' folders=()
while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --port | --state)
      [ $# -ge 2 ] || usage "$1 has no value"
      [ "$1" = --port ] && port=$2 || state=$2
      shift
      ;;
    --port=*) port=${1#*=} ;;
    --state=*) state=${1#*=} ;;
    -*) usage "unknown option $1 (a folder of that name: ./$1)" ;;
    *) folders+=("$1") ;;
  esac
  shift
done
[[ $port =~ ^[1-9][0-9]{0,4}$ ]] && [ "$port" -le 65532 ] || usage "--port: found '$port', expected 1 to 65532"
[ ${#folders[@]} = 1 ] || usage "found ${#folders[@]} folders of runs (${folders[*]})"
[ -d "${folders[0]}" ] || usage "no folder of runs '${folders[0]}'"
runs=$(realpath "${folders[0]}")
state=$(realpath -m "${state:-$runs/.monitoring}")
for program in prometheus prometheus-alertmanager curl; do
  command -v "$program" >/dev/null || usage "no program $program (Debian: apt install prometheus prometheus-alertmanager curl)"
done
for taken in "$port" $((port + 3)); do  # else what answers there would be taken for ours
  if (: <"/dev/tcp/127.0.0.1/$taken") 2>/dev/null; then
    echo "start.sh: port $taken is taken, perhaps by the service of Debian's package; choose others with --port" >&2
    exit 1
  fi
done

mkdir -p "$state"/{prometheus,alertmanager,targets}
# This script, Prometheus and Alertmanager hold the lock: while one of them runs, a second start would damage its files.
exec {lock}>"$state/lock"
code=0
flock --nonblock --conflict-exit-code 75 "$lock" || code=$?
[ "$code" = 0 ] || {
  [ "$code" = 75 ] && echo "start.sh: $state is in use: start.sh runs already for it, or what it started still does" >&2
  echo "start.sh: stop that, or choose another folder with --state" >&2
  exit 1
}
ln -sfn "$here/prometheus.yml" "$state/prometheus.yml"
ln -sfn "$here/rules" "$state/rules"
printf '[{"targets": ["127.0.0.1:%d"]}]\n' "$((port + 3))" >"$state/alertmanagers.json"

trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
trap 'exit 0' INT TERM HUP
"$here/link_targets.sh" "$runs" "$state/targets" {lock}>&- &
prometheus-alertmanager --config.file="$here/alertmanager.yml" --storage.path="$state/alertmanager" \
  --web.listen-address="127.0.0.1:$((port + 3))" --cluster.listen-address= 2>"$state/alertmanager.log" &
# Starts in that folder, because Prometheus treats the path of its configuration as part of the patterns in it, with [ and *.
(cd "$state" && exec prometheus --config.file=prometheus.yml --storage.tsdb.path=prometheus \
  --storage.tsdb.retention.time=90d --web.listen-address="127.0.0.1:$port" \
  --web.console.templates="$here/consoles" --web.console.libraries="$here/console_libraries" 2>prometheus.log) &
prometheus=$!

until curl -sf "http://127.0.0.1:$port/-/ready" >/dev/null; do
  if ! kill -0 "$prometheus" 2>/dev/null; then
    tail -n 5 "$state/prometheus.log" >&2
    echo "start.sh: Prometheus has ended; its log is $state/prometheus.log" >&2
    exit 1
  fi
  sleep 0.2
done
echo "http://127.0.0.1:$port/consoles/index.html"
wait -n || true  # none of them ends by itself
echo "start.sh: Prometheus, Alertmanager or link_targets.sh has ended; see $state/*.log" >&2
exit 1
