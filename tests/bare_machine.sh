#!/usr/bin/env bash
# Runs the two commands of the README in a bare Debian 12: debootstrap's minbase and python3, in a folder of its own.
# Needs root, network, and space for it: 8 GB for the quickstart, 20 GB for the tests. No part of CI. Prints how long each
# part took.
#
#   tests/bare_machine.sh                              both commands, on the newest commit
#   tests/bare_machine.sh quickstart [--steps N ...]   only ./launch/quickstart.sh, with these arguments
#   tests/bare_machine.sh tests [unit ...]             only ./tests/run.sh, with these arguments
#
# TMPDIR chooses the disk. What apt and pip are told on this machine (mirrors, certificates) holds in the bare root too.
set -euo pipefail
project=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
case ${1:-} in
  '') parts=(quickstart tests) ;;
  quickstart | tests) parts=("$1"); shift ;;
  *) echo "bare_machine.sh: expected [quickstart|tests [arguments]], found '$1'" >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || { echo "bare_machine.sh: needs root, for debootstrap and mounts" >&2; exit 2; }

# In namespaces of its own: mounts and processes end with this script.
if [ -z "${PIXELBERT_BARE_ROOT:-}" ]; then
  PIXELBERT_BARE_ROOT=$(mktemp -d "${TMPDIR:-/var/tmp}/bare.XXXXXX")
  export PIXELBERT_BARE_ROOT
  trap 'rm -rf --one-file-system "$PIXELBERT_BARE_ROOT"' EXIT
  [ ${#parts[@]} = 2 ] || set -- "${parts[0]}" "$@"
  code=0
  unshare --mount --pid --fork --kill-child "${BASH_SOURCE[0]}" "$@" || code=$?
  exit "$code"
fi
bare=$PIXELBERT_BARE_ROOT

timed() {  # NAME COMMAND...
  local name=$1 began=$SECONDS code=0
  shift
  "$@" || code=$?
  echo "bare_machine.sh: $name ended with $code after $((SECONDS - began)) s"
  return "$code"
}

make_root() {
  command -v debootstrap >/dev/null || { apt-get update -q && apt-get install -y -q --no-install-recommends debootstrap; } >/dev/null
  local mirror
  # shellcheck disable=SC2016  # apt's own variable
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Created-By: Packages' | sed -n 1p)
  debootstrap --variant=minbase --include=python3 bookworm "$bare" "$mirror" >/dev/null
  rm -f "$bare/etc/apt/sources.list"
  local path
  for path in /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf.d /etc/apt/keyrings /etc/pip.conf \
    /etc/ssl/certs/ca-certificates.crt /usr/local/share/ca-certificates /etc/resolv.conf /etc/hosts; do
    [ ! -e "$path" ] || cp -rL --parents "$path" "$bare"
  done
  mount -t proc proc "$bare/proc"
  mount -t sysfs sysfs "$bare/sys"
  mount --rbind /dev "$bare/dev"  # with /dev/shm
  local data=${PIXELBERT_SHARED_DATA:-$project/../shared/data}
  if [ -d "$data" ]; then  # else the tests of real data fail
    mkdir -p "$bare/root/shared/data"
    mount --bind "$data" "$bare/root/shared/data"
    mount -o remount,bind,ro "$bare/root/shared/data"
  fi
  git -c safe.directory='*' clone -q --no-hardlinks "$project" "$bare/root/pixelbert"
}

in_root() {
  local settings
  mapfile -t settings < <(env | grep -E '^(PIP_|SSL_CERT_|REQUESTS_CA_|https?_proxy=|no_proxy=)' || true)
  env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "${settings[@]}" \
    chroot "$bare" bash -c 'cd /root/pixelbert && exec "$@"' _ "$@"
}

timed "the bare root" make_root
for part in "${parts[@]}"; do
  case $part in
    quickstart) timed quickstart in_root ./launch/quickstart.sh "$@" ;;
    tests) timed tests in_root ./tests/run.sh "$@" ;;
  esac
done
