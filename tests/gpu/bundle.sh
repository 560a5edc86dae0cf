#!/usr/bin/env bash
# Packs what run.sh needs on a machine with a GPU where nothing can be installed or downloaded: the program and the GPU
# plug-in of this build, their libraries without LibTorch and CUDA, Open MPI, shards, a vocabulary, the checks.
#
#   tests/gpu/bundle.sh DIR          DIR must not exist; at most 64 MiB. On the other machine: DIR/run.sh
#
# PIXELBERT_BUILD is the build (default: build), PIXELBERT_SHARED_DATA the real data (default: ../shared/data).
set -euo pipefail
root=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${PIXELBERT_BUILD:-$root/build}
data=${PIXELBERT_SHARED_DATA:-$root/../shared/data}
out=${1:-}
out=${out%/}
most=$((64 << 20))
fail() { echo "bundle.sh: $1" >&2; exit 1; }
if [ $# != 1 ] || [[ $out = -* ]]; then echo "bundle.sh: expected a folder, found: $*" >&2; exit 2; fi
[ ! -e "$out" ] || fail "$out exists: remove it, or name another folder"
[ -f "$build/bin/libpixelbert_cuda.so" ] ||
  fail "no $build/bin/libpixelbert_cuda.so: run launch/setup.sh --gpu, then cmake --preset cpu && cmake --build --preset cpu"
[ -d "$data/coco-train2017/images" ] || fail "no images in $data/coco-train2017: PIXELBERT_SHARED_DATA names the folder of real data"

aside=$(mktemp -d "$out.XXXXXX")  # the folder gets its name when it is whole
trap 'rm -rf "$aside"' EXIT
mkdir "$aside"/{bin,lib,data,configs}
cp "$build"/bin/{pixelbert,pixelbert-program,libpixelbert_cuda.so} "$aside/bin"
strip "$aside"/bin/*
cp "$root"/configs/{tiny,pretrain-r50}.ini "$aside/configs"
cp -r "$root/launch" "$aside"
cp "$root"/tests/gpu/{run.sh,checks.py,attention.py} "$aside"

# Open MPI finds its plug-ins below OPAL_PREFIX, at the places below /usr for which Debian has built it.
plugins=$(ompi_info --path pkglibdir --parsable | cut -d : -f 3)
helps=$(ompi_info --path pkgdatadir --parsable | cut -d : -f 3)
mkdir -p "$aside/mpi/bin" "$aside/mpi/${plugins#/usr/}" "$aside/mpi/${helps#/usr/}"
cp -L "$(type -P orterun)" "$aside/mpi/bin/mpirun"
cp -L "$(type -P orted)" "$aside/mpi/bin/orted"
cp -L "$plugins"/*.so "$aside/mpi/${plugins#/usr/}"
cp -r "$helps/." "$aside/mpi/${helps#/usr/}"

# LibTorch and CUDA are those of the other machine; glibc and GCC's libraries too, which must not be older than these.
theirs='torch|libc10|nvidia|libcu(da|dnn|pti|blas|fft|file|rand|solver|sparse)|libnccl|libgomp|/ld-linux|/lib(c|m|dl|rt|pthread|resolv|util|stdc\+\+|gcc_s)\.so'
find "$aside/bin" "$aside/mpi" -type f \( -perm -u+x -o -name '*.so' \) -print0 | xargs -0 -n 1 ldd 2>/dev/null |
  awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u | { grep -vE "$theirs" || true; } | xargs -I{} cp -L {} "$aside/lib"

pixelbert=$build/bin/pixelbert
make_shards() { "$pixelbert" shard "$@" >/dev/null 2>"$aside/log" || { cat "$aside/log" >&2; exit 1; }; }
make_shards coco --captions "$data/coco-train2017/captions_train2017.json" --images "$data/coco-train2017" --out "$aside/data/coco"
for task in pairs vqa nlvr2; do make_shards scenes --task $task --count 40 --size 64 --seed 1 --out "$aside/data/$task"; done
cp "$data/bert-base-uncased-vocab/vocab.txt" "$aside/data"
rm -f "$aside/log"

size=$(du -sb "$aside" | cut -f 1)
[ "$size" -le $most ] || fail "the bundle has $size bytes, more than $most"
chmod 755 "$aside"
mv -T "$aside" "$out"
trap - EXIT
echo "$out: $((size >> 20)) MiB"
