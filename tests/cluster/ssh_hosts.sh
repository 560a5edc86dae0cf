#!/usr/bin/env bash
# ssh_hosts.sh up DIR N   the hosts of hosts.sh, with an sshd on each of n0, n1, …; ssh between them asks for nothing
# ssh_hosts.sh down DIR
#
# DIR/hostfile names them for launch/hosts.sh; DIR/bin/ssh is the ssh that knows the keys.
set -euo pipefail
here=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command=$1
mkdir -p "$2"
dir=$(CDPATH='' cd "$2" && pwd)

up() {
  local hosts=$1 i end=$((SECONDS + 30))
  "$here/hosts.sh" up "$dir" "$hosts"
  mkdir -p "$dir/ssh" "$dir/log" /run/sshd
  ssh-keygen -q -t ed25519 -N '' -f "$dir/ssh/user"
  ssh-keygen -q -t ed25519 -N '' -f "$dir/ssh/host"
  cat >"$dir/ssh/sshd_config" <<SSHD
HostKey $dir/ssh/host
AuthorizedKeysFile $dir/ssh/user.pub
PermitRootLogin yes
# The folder of the keys belongs to a test.
StrictModes no
UsePAM no
PidFile none
SSHD
  { printf '* '; cat "$dir/ssh/host.pub"; } >"$dir/ssh/known_hosts"
  cat >"$dir/bin/ssh" <<SSH
#!/usr/bin/env bash
exec ssh -F none -i "$dir/ssh/user" -o UserKnownHostsFile="$dir/ssh/known_hosts" -o BatchMode=yes "\$@"
SSH
  chmod +x "$dir/bin/ssh"
  for ((i = 0; i < hosts; i++)); do
    "$dir/bin/on" "n$i" /usr/sbin/sshd -D -f "$dir/ssh/sshd_config" </dev/null >"$dir/log/sshd-n$i.out" 2>&1 &
    echo "n$i slots=1"
  done >"$dir/hostfile"
  for ((i = 0; i < hosts; i++)); do
    until "$dir/bin/on" n0 "$dir/bin/ssh" "n$i" true 2>"$dir/log/ssh-n$i.out"; do
      if [ $SECONDS -ge $end ]; then
        echo "ssh_hosts.sh: no ssh from n0 to n$i; sshd and ssh said:" >&2
        cat "$dir/log/sshd-n$i.out" "$dir/log/ssh-n$i.out" >&2
        exit 1
      fi
      sleep 0.1
    done
  done
}

case $command in
  up) up "$3" ;;
  down) "$here/hosts.sh" down "$dir" ;;
  *) echo "ssh_hosts.sh: expected up DIR N or down DIR, found: $*" >&2; exit 2 ;;
esac
