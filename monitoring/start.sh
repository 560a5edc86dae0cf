#!/usr/bin/env bash
# monitoring/start.sh [--port P] [--state DIR] RUNS
#
# Prometheus on port P (9090) of this host and Alertmanager on P + 3, with the rules and the console of this folder, for
# the run folders in RUNS. What they store lies in DIR (RUNS/.monitoring) and is kept for 90 days. Listens on the loopback
# address: from elsewhere, ssh -L 9090:localhost:9090 THIS-HOST. Runs until it is stopped.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
usage() {
  echo "start.sh: $1; expected [--port P] [--state DIR] RUNS" >&2
  exit 2
}

port=9090 state=''
while [[ ${1:-} = -* ]]; do
  [ $# -ge 2 ] || usage "$1 has no value"
  case $1 in
    --port) port=$2 ;;
    --state) state=$2 ;;
    *) usage "unknown option $1" ;;
  esac
  shift 2
done
[[ $port =~ ^[1-9][0-9]*$ ]] || usage "--port: found '$port'"
[ $# = 1 ] && [ -d "$1" ] || usage "no folder of runs '${1:-}'"
runs=$(realpath "$1")
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
ln -sfn "$here/prometheus.yml" "$state/prometheus.yml"
ln -sfn "$here/rules" "$state/rules"
printf '[{"targets": ["127.0.0.1:%d"]}]\n' "$((port + 3))" >"$state/alertmanagers.json"

trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
trap 'exit 0' INT TERM
"$here/link_targets.sh" "$runs" "$state/targets" &
prometheus-alertmanager --config.file="$here/alertmanager.yml" --storage.path="$state/alertmanager" \
  --web.listen-address="127.0.0.1:$((port + 3))" --cluster.listen-address= 2>"$state/alertmanager.log" &
prometheus --config.file="$state/prometheus.yml" --storage.tsdb.path="$state/prometheus" \
  --storage.tsdb.retention.time=90d --web.listen-address="127.0.0.1:$port" \
  --web.console.templates="$here/consoles" --web.console.libraries="$here/console_libraries" 2>"$state/prometheus.log" &
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
