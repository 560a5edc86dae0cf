"""pixelbert doctor: accepts this machine, and reports what is wrong."""

import os
import re
import shutil
import subprocess
import sys
import time

from support import LOCAL, PIXELBERT, check, make_scenes, pixelbert, run_tests

DOCTOR = ["doctor", "--train.device", "cpu"]
CHECKS = {"device", "/dev/shm", "file locks", "reading", "run folder", "loader", "binding", "single copy", "clock",
          "peak", "all-reduce"}


def lines_of(output):
    """Returns (level, rest) of each line of the table."""
    return re.findall(r"^(ok|warning|FAILURE) +(.*)$", output, re.M)


def failures(output):
    return [rest for level, rest in lines_of(output) if level == "FAILURE"]


def test_looks_at_everything_within_a_minute(folder):
    shards = make_scenes(folder / "shards")
    for ranks in (1, 2):
        begin = time.time()
        output = pixelbert(*DOCTOR, "--data.shards", shards, "--run.dir", folder / "run", "--image.short-side", 64, ranks=ranks)
        check(time.time() - begin < 60, f"{time.time() - begin:.0f} s")
        seen = {name for name in CHECKS for _, rest in lines_of(output) if rest.startswith(name)}
        check(seen == CHECKS, f"expected a line for each of {sorted(CHECKS)}, found {sorted(seen)}:\n{output}")
        check(not failures(output), output)
        check(re.search(r"loader +.*: [\d.]+ images/s per thread, with a shorter side of 64", output), output)
        # Whether bf16 is slower depends on the processor; float32's rate is above bf16's where doctor says so.
        peak = re.search(r"peak +\S.*  float32 ([\d.]+).* ([GT])FLOP/s, bf16 ([\d.]+).* ([GT])FLOP/s on a rank", output)
        check(peak, output)
        if ranks == 1:
            float32, bf16 = (float(peak[i]) * {"G": 1, "T": 1000}[peak[i + 1]] for i in (1, 3))
            check((float32 > bf16) == ("bf16 is slower than float32" in output) or float32 == bf16, output)
        if ranks == 2:
            sums = re.search(r"all-reduce +rank 0 +[\d.]+ GB/s, (\d+) us per round of messages", output)
            check(sums and 0 < int(sums[1]) < 100000, output)
    check(not (folder / "run").exists(), "leaves nothing behind")


def test_a_missing_shard_folder_fails(folder):
    for ranks in (1, 2):
        output = pixelbert(*DOCTOR, "--data.shards", folder / "none", ranks=ranks, expect=1, seconds=60)
        check(any("no shard folder" in line for line in failures(output)), output)
        check("all-reduce" in output, f"the other checks are made:\n{output}")


def test_a_shard_folder_that_only_one_rank_lacks_fails_and_names_the_rank(folder):
    shards = make_scenes(folder / "shards")
    here = folder / "here"
    here.mkdir()
    # Only rank 0 sees the shards there, in its own mount namespace.
    mount = f'if [ "$OMPI_COMM_WORLD_RANK" = 0 ]; then mount --bind {shards} {here}; fi; exec "$@"'
    command = [LOCAL, "-n", "2", "unshare", "-m", "bash", "-c", mount, "_", PIXELBERT, *DOCTOR, "--data.shards", here]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    check(done.returncode == 1, done)
    check(any(line.startswith("reading") and "rank 1" in line for line in failures(done.stdout)), done.stdout)
    check(re.search(r"^(ok|warning) +reading +rank 0", done.stdout, re.M), done.stdout)


def test_a_rank_whose_disk_hangs_is_named_and_holds_up_nobody(folder):
    shards, hangs, here = make_scenes(folder / "shards"), folder / "hangs", folder / "here"
    here.mkdir()
    shutil.copytree(shards, hangs)
    victim = next(hangs.glob("*.h5"))
    victim.unlink()
    os.mkfifo(victim)  # opening it waits forever
    mount = f'if [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then shards={hangs}; else shards={shards}; fi\n' \
            f'mount --bind "$shards" {here} && exec "$@"'
    command = [LOCAL, "-n", "2", "unshare", "-m", "bash", "-c", mount, "_", PIXELBERT, *DOCTOR, "--data.shards", here]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    check(done.returncode == 1, done)
    check(any(line.startswith("file locks") and "rank 1 " in line and "no answer" in line for line in failures(done.stdout)),
          done.stdout)
    check(re.search(r"^ok +file locks +rank 0", done.stdout, re.M) and "GB/s" in done.stdout, done.stdout)


def test_a_read_only_run_folder_fails(folder):
    disk = folder / "disk"
    disk.mkdir()
    command = ["unshare", "-m", "bash", "-c", 'mount -t tmpfs -o ro none "$0" && exec "$@"', disk, LOCAL, "-n", 2, PIXELBERT,
               *DOCTOR, "--run.dir", disk / "run"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    check(done.returncode == 1, done)
    check(any(line.startswith("run folder") and "rank 0" in line and "--run.dir" in line for line in failures(done.stdout)),
          done.stdout)


def test_ranks_that_are_bound_to_one_core_fail(folder):
    core = min(os.sched_getaffinity(0))
    check(os.cpu_count() > 1, "expected a machine of two cores at least")
    command = ["taskset", "-c", core, LOCAL, "-n", 2, PIXELBERT, *DOCTOR]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    check(done.returncode == 1, done)
    check(any(line.startswith("binding") and "1 of the host's" in line for line in failures(done.stdout)), done.stdout)


def test_cuda_without_a_gpu_fails_and_wrong_usage_ends_with_2(folder):
    if not os.path.exists("/proc/driver/nvidia/version"):
        output = pixelbert("doctor", "--train.device", "cuda", ranks=2, expect=1, seconds=60)
        check(any(line.startswith("device") and "--train.device cuda on" in line for line in failures(output)), output)
    output = pixelbert("doctor", "--train.device", "tpu", ranks=2, expect=2)
    check("--train.device must be" in output, output)


run_tests(sys.modules[__name__])
