#!/usr/bin/env bash
# Tests launch/local.sh: exit codes, signals, threads, and that a failed rank ends the job at once; and what mpirun.sh
# sends to other hosts.
set -uo pipefail
here=$(CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
local_sh=$here/../../launch/local.sh
job=$PIXELBERT_BUILD/bin/small_job
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
log=$scratch/log

fail() {
  echo "FAILED: $1; the job said:" >&2
  cat "$log" >&2
  exit 1
}
expect_code() { [ "$2" = "$1" ] || fail "$3: expected exit code $1, found $2"; }
expect_text() { grep -q "$1" "$log" || fail "expected '$1'"; }

for code in 0 1 2 75; do
  timeout -k 30 60 "$local_sh" -n 3 "$job" exit $code >"$log" 2>&1
  expect_code $code $? "all ranks end with $code"
done

# 128 + 9 would mean that timeout killed the job because the other ranks kept waiting.
timeout -k 30 30 "$local_sh" -n 3 "$job" throw 1 >"$log" 2>&1
expect_code 1 $? "rank 1 throws while the others wait for it"
expect_text "\[rank 1\] on host $(hostname): thrown on purpose"

# TERM by way of timeout, which sends it to the whole process group, as batch systems do.
for signal in TERM USR1; do
  bounded=()
  [ $signal = TERM ] && bounded=(timeout -k 30 60)
  : >"$log"  # or the wait below would find the job before
  "${bounded[@]}" "$local_sh" -n 2 "$job" until-stopped >"$log" 2>&1 &
  started=$!
  for _ in $(seq 300); do
    grep -q working "$log" && break
    sleep 0.1
  done
  kill -$signal $started
  # Some systems signal the group again and again. This once ended the process that was asking mpirun.
  [ $signal != TERM ] || for _ in $(seq 60); do kill -TERM -- -$started; done
  wait $started
  expect_code 75 $? "SIG$signal asks the ranks to stop"
  expect_text saved
done

timeout -k 30 60 env -u OMP_NUM_THREADS "$local_sh" -n 2 "$job" threads >"$log" 2>&1
expect_code 0 $? threads
cores=$(env -u OMP_NUM_THREADS nproc)
expect_text "2 ranks with $((cores / 2 > 0 ? cores / 2 : 1)) threads, 2 on this host"

PIXELBERT_TEST_RANKS=3 timeout -k 30 60 "$local_sh" -n 2 "$PIXELBERT_BUILD/bin/communicator_mpitest" >"$log" 2>&1
expect_code 1 $? "a test on another number of ranks than it was asked for"
expect_text "expected 3 ranks, found 2"

"$local_sh" -n 0 "$job" >"$log" 2>&1
expect_code 2 $? "no ranks"
"$local_sh" -n 1 no-such-program >"$log" 2>&1
expect_code 2 $? "no program"

"$here/../../launch/quickstart.sh" --steps 4 --dir >"$log" 2>&1
expect_code 2 $? "quickstart.sh --dir without a value"
expect_text "quickstart.sh: --dir has no value; expected"
mkdir "$scratch/bin"
printf '#!/bin/sh\necho "sent: $*"\nenv\n' >"$scratch/bin/mpirun"
chmod +x "$scratch/bin/mpirun"
sent=(CUBLAS_WORKSPACE_CONFIG CUDA_MODULE_LOADING HDF5_USE_FILE_LOCKING LD_LIBRARY_PATH NCCL_IB_HCA OMP_NUM_THREADS PYTORCH_ALLOC_CONF
  TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT)
kept=(CUDA_VISIBLE_DEVICES HOME XTORCH_X)
env "${sent[@]/%/=1}" "${kept[@]/%/=1}" NCCL_EMPTY= PATH="$scratch/bin:$PATH" "$here/../../launch/mpirun.sh" -n 1 true >"$log" 2>&1
expect_code 0 $? "mpirun.sh with another mpirun"
! grep -q -- "-x NCCL_EMPTY " "$log" || fail "expected an empty variable to stay: it would replace the other host's"
for name in "${sent[@]}"; do expect_text "^sent:.* -x $name "; done
for name in "${kept[@]}"; do ! grep -q -- "-x $name " "$log" || fail "expected $name to stay on this host"; done

# What env.sh sets for LibTorch on GPUs; the user's choice comes first, also by the older name.
settings() { env -u PYTORCH_ALLOC_CONF -u PYTORCH_CUDA_ALLOC_CONF PATH="$scratch/bin:$PATH" "$@" "$here/../../launch/mpirun.sh" x >"$log" 2>&1; }
settings env
expect_text '^PYTORCH_ALLOC_CONF=expandable_segments:True$'
expect_text '^TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT=2000$'
settings env PYTORCH_ALLOC_CONF=max_split_size_mb:64 TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT=7
expect_text '^PYTORCH_ALLOC_CONF=max_split_size_mb:64$'
expect_text '^TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT=7$'
settings env PYTORCH_CUDA_ALLOC_CONF=max_split_size_mb:64
! grep -q '^PYTORCH_ALLOC_CONF=' "$log" || fail "expected no PYTORCH_ALLOC_CONF beside PYTORCH_CUDA_ALLOC_CONF"
echo "exit codes, signals, threads and a failing rank: as promised"
