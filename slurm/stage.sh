#!/usr/bin/env bash
# slurm/stage.sh PROGRAM FOLDER COPY
#
# Copies a shard folder to COPY on this node, once, and verifies the copy. job.sh runs it on every node. COPY has its final name
# only when it is whole, and stays for the next job.
set -euo pipefail
expected='PROGRAM FOLDER COPY'
case ${1:-} in -h | --help) echo "stage.sh $expected"; exit 0 ;; esac
[ $# = 3 ] || { echo "stage.sh: expected $expected, found: $*" >&2; exit 2; }
program=$1 folder=$2 copy=$3
say() { echo "$(date '+%F %T') $(hostname): $*"; }

umask 022  # the jobs of other users may use the copy
mkdir -p "$(dirname "$copy")"
[ -e "$copy.lock" ] || : >>"$copy.lock" || [ -e "$copy.lock" ]
exec 9<"$copy.lock"  # to read: it may be another user's
flock 9              # other jobs on this node
if [ -d "$copy" ]; then
  say "$copy is here already"
  exit
fi
needed=$(($(du -skL "$folder" | cut -f 1) / 1024 + 1))
free=$(($(df -k --output=avail "$(dirname "$copy")" | tail -1) / 1024))
if [ "$needed" -gt "$free" ]; then
  say "PIXELBERT_STAGE: expected $needed MiB for $folder, found $free free: name a larger folder, or leave it out" >&2
  exit 1
fi
part=$copy.part-$(id -un)  # one that was left by another user cannot be removed
rm -rf "$part"
cp -rL "$folder" "$part"
if ! "$program" inspect "$part" >"$part.log" 2>&1; then
  say "the copy of $folder is damaged: $(tail -1 "$part.log")" >&2
  rm -rf "$part" "$part.log"
  exit 1
fi
rm "$part.log"
mv "$part" "$copy"
say "$folder copied to $copy, $needed MiB, checksums right"
