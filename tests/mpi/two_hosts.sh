#!/usr/bin/env bash
# Two hosts with a TCP network between them, made of network namespaces on this machine (as root).
#
#   two_hosts.sh                      the tests of the communicator and of launch/hosts.sh
#   two_hosts.sh program arguments…   this program on PIXELBERT_TWO_HOSTS_RANKS ranks per host (1); ends with its exit code
set -uo pipefail
here=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
a=pb$$a b=pb$$b net=10.77.0
scratch=$(mktemp -d)
log=$scratch/log

remove_hosts() {
  for host in $a $b; do
    ip netns pids $host 2>/dev/null | xargs -r kill -9
    ip netns del $host 2>/dev/null
    rm -rf /etc/netns/$host
  done
  rm -rf "$scratch"
}
trap remove_hosts EXIT
trap 'exit 143' TERM INT

make_hosts() {
  ip netns add $a && ip netns add $b && ip link add v$$a netns $a type veth peer name v$$b netns $b &&
    ip -n $a addr add $net.1/24 dev v$$a && ip -n $b addr add $net.2/24 dev v$$b &&
    ip -n $a link set v$$a up && ip -n $b link set v$$b up && ip -n $a link set lo up && ip -n $b link set lo up
}
if ! make_hosts 2>"$log"; then
  echo "two_hosts.sh: expected to make network namespaces (root, iproute2, CAP_SYS_ADMIN): $(cat "$log")" >&2
  exit 1
fi
for host in $a $b; do  # ip netns exec mounts it as /etc/hosts
  mkdir -p /etc/netns/$host
  { cat /etc/hosts; echo "$net.1 $a"; echo "$net.2 $b"; } >/etc/netns/$host/hosts
done

cat >"$scratch/rsh" <<'AGENT'
#!/bin/bash
# Replaces ssh: [options] host command
while [[ $1 == -* ]]; do shift; done
host=$1; shift
exec ip netns exec "$host" unshare --uts bash -c "hostname $host; $*"
AGENT
chmod +x "$scratch/rsh"
printf '%s slots=2\n' $a $b >"$scratch/hosts"
export OMPI_MCA_plm_rsh_agent=$scratch/rsh PIXELBERT_TCP_INTERFACE=$net.0/24

# Runs launch/hosts.sh on host a.
on_hosts() {
  ip netns exec $a unshare --uts bash -c 'hostname "$0"; exec "$@"' $a \
    timeout -k 5 "${PIXELBERT_TWO_HOSTS_TIMEOUT:-100}" "$here/../../launch/hosts.sh" --hostfile "$scratch/hosts" "$@"
}

if [ $# -gt 0 ]; then
  on_hosts --per-host "${PIXELBERT_TWO_HOSTS_RANKS:-1}" "$@"
  exit
fi

fail() {
  echo "FAILED: $1; the job said:" >&2
  cat "$log" >&2
  exit 1
}
expect_code() { [ "$2" = "$1" ] || fail "$3: expected exit code $1, found $2"; }
expect_text() { grep -q "$1" "$log" || fail "expected '$1'"; }
bytes_between() { ip netns exec $a cat /sys/class/net/v$$a/statistics/tx_bytes; }
job=$PIXELBERT_BUILD/bin/small_job

on_hosts --per-host 2 "$job" threads >"$log" 2>&1
expect_code 0 $? "four ranks"
expect_text "4 ranks .* 2 on this host"

before=$(bytes_between)
for test in communicator_mpitest gradient_reducer_mpitest; do
  PIXELBERT_TEST_RANKS=4 on_hosts -n 4 "$PIXELBERT_BUILD/bin/$test" --gtest_brief=1 >"$log" 2>&1
  expect_code 0 $? $test
done
sent=$(($(bytes_between) - before))
[ "$sent" -gt 1000000 ] || fail "expected more than 1 MB between the hosts, found $sent bytes"

on_hosts -n 4 "$job" throw 3 >"$log" 2>&1
expect_code 1 $? "a rank on the other host throws"
expect_text "\[rank 3\] on host $b: thrown on purpose"

on_hosts --per-host 1 "$job" until-stopped >"$log" 2>&1 &
for _ in $(seq 300); do
  grep -q working "$log" && break
  sleep 0.1
done
for pid in $(ip netns pids $a); do
  grep -qa launch/hosts.sh "/proc/$pid/cmdline" && [ "$(cat "/proc/$pid/comm")" != timeout ] && kill -TERM "$pid"
done
wait $!
expect_code 75 $? "SIGTERM asks ranks on both hosts to stop"
expect_text saved
echo "two hosts: launch, sums, a failing rank and a stop request; $sent bytes between them"
