#!/usr/bin/env bash
# hosts.sh up DIR N     N hosts n0, n1, … and one named ctl on a network of their own, made of namespaces (as root)
# hosts.sh down DIR     ends every process on the hosts and removes them
#
# DIR/bin/on HOST command…   runs a command on one of them
# DIR/bin/pids HOST          lists the processes on one of them
#
# DIR is short: Slurm and PMIx put UNIX sockets below it.
set -euo pipefail
command=$1
mkdir -p "$2"
dir=$(CDPATH='' cd "$2" && pwd)
# Names of namespaces are global to the machine.
prefix=pb$(printf %s "$dir" | cksum | cut -d ' ' -f 1)
net=10.77.0

down() {
  local namespace
  for namespace in $(ip netns list | awk -v p="^$prefix-" '$1 ~ p { print $1 }'); do
    ip netns pids "$namespace" | xargs -r kill -9 2>/dev/null || true
    ip netns del "$namespace"
  done
}

up() {
  local hosts=$1 i
  # The bridge is on ctl, so nothing is added to the network of the machine itself.
  ip netns add "$prefix-ctl"
  ip -n "$prefix-ctl" link set lo up
  ip -n "$prefix-ctl" link add br0 type bridge
  ip -n "$prefix-ctl" addr add $net.1/24 dev br0
  ip -n "$prefix-ctl" link set br0 up
  printf '127.0.0.1 localhost\n%s.1 ctl\n' $net >"$dir/hosts"
  for ((i = 0; i < hosts; i++)); do
    ip netns add "$prefix-n$i"
    ip -n "$prefix-ctl" link add "v$i" type veth peer name eth0 netns "$prefix-n$i"
    ip -n "$prefix-ctl" link set "v$i" master br0 up
    ip -n "$prefix-n$i" link set lo up
    ip -n "$prefix-n$i" addr add "$net.$((10 + i))/24" dev eth0
    ip -n "$prefix-n$i" link set eth0 up
    echo "$net.$((10 + i)) n$i" >>"$dir/hosts"
  done
  mkdir -p "$dir/bin"
  # nsenter, because `ip netns exec` hides /sys/fs/cgroup, without which slurmd ends.
  cat >"$dir/bin/on" <<ON
#!/usr/bin/env bash
host=\$1
shift
exec nsenter --net="/run/netns/$prefix-\$host" unshare --uts --mount --ipc --propagation slave bash -c '
  hostname "\$1"
  mount --bind "$dir/hosts" /etc/hosts
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  shift
  exec "\$@"' _ "\$host" "\$@"
ON
  cat >"$dir/bin/pids" <<PIDS
#!/usr/bin/env bash
exec ip netns pids "$prefix-\$1"
PIDS
  chmod +x "$dir/bin/on" "$dir/bin/pids"
}

case $command in
  up) up "$3" ;;
  down) down ;;
  *) echo "hosts.sh: expected up DIR N or down DIR, found: $*" >&2; exit 2 ;;
esac
