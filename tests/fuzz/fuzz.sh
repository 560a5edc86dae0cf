#!/usr/bin/env bash
# Fuzzes one target: fuzz.sh TARGET SECONDS [options of libFuzzer]. With 0 seconds it only tries known inputs.
#
# The build comes first: cmake --preset fuzz && cmake --build --preset fuzz. Earlier findings (regressions/TARGET)
# and the files of golden.cpp are tried once, then changed. Inputs that reach new code gather in
# build-fuzz/fuzz/corpus/TARGET for the next time. A finding ends the run and stays in build-fuzz/fuzz/findings/TARGET:
#   build-fuzz/bin/fuzz_TARGET FILE                                  shows it again
#   build-fuzz/bin/fuzz_TARGET -minimize_crash=1 -runs=10000 FILE    makes it small
set -euo pipefail
here=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(cd "$here/../.." && pwd)/build-fuzz
target=${1:-} seconds=${2:-}
if [ -z "$seconds" ] || [ ! -x "$build/bin/fuzz_$target" ]; then
  echo "usage: fuzz.sh TARGET SECONDS [options of libFuzzer]; targets: $(cd "$here" && grep -l TestOneInput ./*.cpp |
    sed 's|./||; s|\.cpp||' | xargs). Build them with: cmake --preset fuzz && cmake --build --preset fuzz" >&2
  exit 2
fi
shift 2

corpus=$build/fuzz/corpus/$target findings=$build/fuzz/findings/$target golden=$build/fuzz/golden/$target
mkdir -p "$corpus" "$findings"
memory=/dev/shm
[ -w "$memory" ] || memory=${TMPDIR:-/tmp}
TMPDIR=$(mktemp -d "$memory/pixelbert-fuzz-XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

# LibTorch never frees some memory, which looks like a leak; freed memory that ASan keeps would count as the reader's.
# HDF5 asks malloc for whatever size a damaged file states, and reports an error if it gets null. The program's own code
# allocates with new, which ends the run all the same.
export ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16:allocator_may_return_null=1:max_allocation_size_mb=1000
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export ASAN_SYMBOLIZER_PATH=/usr/lib/llvm-19/bin/llvm-symbolizer OMP_NUM_THREADS=1
# fuzz.h allows 10 s of work. This limit finds hangs; it is wall-clock time, of which a process of low priority gets little
# to work.
fuzz=("$build/bin/fuzz_$target" -timeout=600 -rss_limit_mb=1024 "-artifact_prefix=$findings/")

shopt -s nullglob
regressions=("$here/regressions/$target"/*)
known=("${regressions[@]}" "$golden"/*)
"${fuzz[@]}" "${known[@]}"
[ "$seconds" != 0 ] || exit 0

dictionary=$here/$target.dict
[ -f "$dictionary" ] || dictionary=$here/json.dict
[ ${#regressions[@]} = 0 ] || golden="$golden $here/regressions/$target"
"${fuzz[@]}" "-max_total_time=$seconds" -max_len=16384 "-dict=$dictionary" -print_final_stats=1 "$@" "$corpus" $golden
