"""Failures end the job, name their culprit and lose nothing."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time

import h5py
from support import (LOCAL, PIXELBERT, check, check_same_weights, finish, losses, make_scenes, metrics, pixelbert, pretrain,
                     run_tests, start, wait_for, weights)

BATCH = ["--data.global-batch", 32, "--data.micro-batch", 16, "--train.steps", 6]


def test_a_rank_that_throws_ends_the_job(folder):
    command = pretrain(folder / "run", make_scenes(folder / "shards"), *BATCH, "--train.steps", 100000)
    for rank in (0, 1):
        begin = time.time()
        output = pixelbert(*command, ranks=2, faults=f"throw@3/{rank}", expect=1, seconds=60)
        check(f"rank {rank}" in output, f"names the rank:\n{output}")
        check(socket.gethostname() in output, f"names the host:\n{output}")
        check("PIXELBERT_FAULTS" in output, f"names the cause:\n{output}")
        check(time.time() - begin < 30, "ends within seconds")


def check_skipped(folder, fault, message):
    shards = make_scenes(folder / "shards")
    run = folder / "run"
    output = pixelbert(*pretrain(run, shards, *BATCH), ranks=2, faults=fault)
    check(message in output, f"says '{message}':\n{output}")
    check("step 3 is skipped on all ranks" in output, f"names the step:\n{output}")
    check([line["step"] for line in metrics(run)] == [1, 2, 3, 4, 5, 6], "every step is counted")
    check(all(tensor.isfinite().all() for tensor in weights(run).values()), "the weights stay finite")
    return run


def test_a_loss_that_is_not_finite_is_skipped_by_all(folder):
    check_skipped(folder, "nan-loss@2/1", "the mlm loss of micro-batch 1 on rank 1 is not finite")


def test_a_gradient_that_is_not_finite_is_skipped_by_all(folder):
    run = check_skipped(folder, "nan-gradient@2/1", "the gradient of micro-batch 1 on rank 1 is not finite")
    # One rank does the same with the same step skipped, except for the rank in the message.
    alone = folder / "alone"
    pixelbert(*pretrain(alone, folder / "shards", *BATCH), faults="nan-gradient@2")
    check(losses(run) == losses(alone), f"losses {losses(run)} and {losses(alone)}")
    check_same_weights(run, alone, "skipped on 2 ranks and on 1")


def test_too_many_skipped_steps_in_a_row_end_the_job(folder):
    output = pixelbert(*pretrain(folder / "run", make_scenes(folder / "shards"), *BATCH, "--train.max-skipped-steps", 2),
                       ranks=2, faults="nan-loss@2/1,nan-loss@3/1", expect=1)
    check(output.count("2 steps in a row were not finite") == 1, f"said once:\n{output}")
    check(output.count("is skipped on all ranks") == 2, f"said once a step:\n{output}")


def test_steps_that_were_skipped_before_a_stop_count(folder):
    command = pretrain(folder / "run", make_scenes(folder / "shards"), *BATCH, "--train.max-skipped-steps", 2)
    pixelbert(*command, "--train.steps", 2, ranks=2, faults="nan-loss@1/1")
    output = pixelbert(*command, ranks=1, faults="nan-loss@2/0", expect=1)
    check("2 steps in a row were not finite" in output, output)


def test_a_full_disk_is_reported_and_training_continues(folder):
    """On a disk with room for one and a half checkpoints the second save fails; so does the last one, with exit 1."""
    shards = make_scenes(folder / "shards")
    command = [*BATCH, "--checkpoint.every-steps", 2, "--checkpoint.keep", 1]
    whole = folder / "whole"
    pixelbert(*pretrain(whole, shards, *command), ranks=2)
    size = sum(file.stat().st_size for file in (whole / "checkpoints/latest/").iterdir())
    disk, kept = folder / "disk", folder / "kept"
    disk.mkdir()
    small = f'mount -t tmpfs -o size={3 * size // 2} none "$0" && "$@"; code=$?; cp -a "$0/run" {shlex.quote(str(kept))}; exit $code'
    job = subprocess.run(["unshare", "-m", "bash", "-c", small, disk, LOCAL, "-n", "2", PIXELBERT,
                          *map(str, pretrain(disk / "run", shards, *command))], capture_output=True, text=True, timeout=120)
    output = job.stdout + job.stderr
    check(job.returncode == 1, f"exit {job.returncode}:\n{output}")
    for step in (4, 6):
        check(output.count(f"cannot save the checkpoint of step {step}") == 1, f"step {step} once:\n{output}")
    check("No space left on device" in output and "the training continues" in output, output)
    check([line["step"] for line in metrics(kept)] == [1, 2, 3, 4, 5], "every step but the one that could not be saved")
    check(os.listdir(kept / "checkpoints") in (["step-000000002", "latest"], ["latest", "step-000000002"]),
          os.listdir(kept / "checkpoints"))
    pixelbert(*pretrain(kept, shards, *command), ranks=2)
    check_same_weights(kept, whole, "with a disk that was full for a time")


def test_wrong_usage_ends_with_2_and_one_message(folder):
    shards = make_scenes(folder / "shards")
    for options, message in [(["--data.global-batch", 0], "--data.global-batch"),
                             (["--model.backbone", "vgg"], "vgg"),
                             (["--model.layerz", 3], "did you mean 'model.layers'?"),
                             (["--optim.clip-norm", -1], "--optim.clip-norm")]:
        output = pixelbert(*pretrain(folder / "run", shards, *options), ranks=2, expect=2)
        check(output.count(message) == 1, f"'{message}' once:\n{output}")
    check(not (folder / "run").exists(), "nothing was made")
    output = pixelbert("pretrain", "--run.dir", folder / "run", expect=2)
    check("--data.shards" in output, output)


def test_wrong_usage_on_one_host_only_names_it(folder):
    """If one host lacks a file, its rank reports that, and the others do not wait for it."""
    shards = make_scenes(folder / "shards")
    (folder / "0.ini").write_text("[train]\nsteps = 1\n")
    command = " ".join(shlex.quote(str(word)) for word in [PIXELBERT, *pretrain(folder / "run", shards, *BATCH)])
    script = f"exec {command} --config {folder}/$OMPI_COMM_WORLD_RANK.ini"
    job = subprocess.run([LOCAL, "-n", "2", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    check(job.returncode == 2, f"exit code 2, found {job.returncode}:\n{job.stderr}")
    for words in ("rank 1", f"on host {socket.gethostname()}", f"{folder}/1.ini: cannot open the file"):
        check(words in job.stderr, f"'{words}':\n{job.stderr}")


def of_each_rank(command, folder, **options):
    """Two ranks, each in a folder of its own, as on two hosts with files of their own."""
    script = f'cd {folder}/$OMPI_COMM_WORLD_RANK && exec {" ".join(shlex.quote(str(word)) for word in command)}'
    return subprocess.run([LOCAL, "-n", "2", "sh", "-c", script], capture_output=True, text=True, timeout=120, **options)


def test_ranks_with_other_options_or_data_are_refused(folder):
    for rank, (rate, images) in enumerate(((1e-3, 96), (1e-4, 48))):
        (folder / str(rank)).mkdir()
        (folder / str(rank) / "rates.ini").write_text(f"[optim]\ntransformer-rate = {rate}\n")
        make_scenes(folder / str(rank) / "shards", count=96)
        make_scenes(folder / str(rank) / "mixed", count=images)
    run = folder / "run"
    words = ["--train.steps", 1, "--checkpoint.every-steps", 0]
    for change, message in ((["--config", "rates.ini"], "(host {host}) --optim.transformer-rate is '0.0001', and on rank 0 '0.001'"),
                            (["--data.shards", "mixed"], "the data in mixed is 'scenes ")):
        job = of_each_rank([PIXELBERT, *pretrain(run, "shards", *BATCH, *words, *change)], folder)
        message = message.format(host=socket.gethostname())
        check(job.returncode == 1 and message in job.stderr, f"'{message}':\n{job.stderr}")
        check(not list(run.glob("checkpoints/*")), "nothing was trained")
    job = of_each_rank([PIXELBERT, *pretrain(run, "shards", *BATCH, *words, "--metrics.progress-every-seconds", 3)], folder)
    check(job.returncode == 0, job.stderr)
    for rank, seconds in enumerate((0, 300)):
        (folder / str(rank) / "watchdog.ini").write_text(f"[watchdog]\nseconds = {seconds}\n")
    job = of_each_rank([PIXELBERT, *pretrain(run, "shards", *BATCH, *words, "--config", "watchdog.ini")], folder)
    check(job.returncode == 1 and "--watchdog.seconds is '300', and on rank 0 '0'" in job.stderr, job.stderr)
    job = of_each_rank([PIXELBERT, "evaluate", "--checkpoint", run, "--data.shards", "mixed"], folder)
    check(job.returncode == 1 and "the data in mixed is 'scenes " in job.stderr, job.stderr)


def test_a_damaged_manifest_of_any_bytes_ends_with_1_and_names_it(folder):
    shards = make_scenes(folder / "shards")
    manifest = shards / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"files"', b'"fil\xe9s"', 1))
    output = pixelbert(*pretrain(folder / "run", shards, *BATCH), ranks=2, expect=1)
    check(str(manifest) in output, output)


def test_a_damaged_index_ends_training_and_inspect_with_1_and_names_the_column(folder):
    """Otherwise texts would go to other images, and nobody would notice."""
    shards = make_scenes(folder / "shards")
    with h5py.File(shards / "shard-00000.h5") as shard:
        offset = shard["images/id"].id.get_offset()
    with open(shards / "shard-00000.h5", "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
    for output in (pixelbert(*pretrain(folder / "run", shards, *BATCH), ranks=2, expect=1),
                   pixelbert("inspect", shards, expect=1)):
        check(f"{shards / 'shard-00000.h5'}: images/id: expected checksum" in output, output)


def test_missing_data_ends_with_1_and_names_the_folder(folder):
    output = pixelbert(*pretrain(folder / "run", folder / "nowhere", *BATCH), ranks=2, expect=1)
    check(str(folder / "nowhere") in output, output)


def test_a_second_job_on_a_run_folder_is_refused(folder):
    run, shards = folder / "run", make_scenes(folder / "shards")
    command = pretrain(run, shards, *BATCH, "--checkpoint.every-steps", 2)
    first = start(*command, "--train.steps", 100000, faults="sleep-reduce@*")
    wait_for(lambda: (run / "metrics.jsonl").exists() and metrics(run), "a step")
    config = (run / "config.ini").read_text()
    output = pixelbert(*command, "--train.seed", 7, ranks=2, expect=1)
    check(output.count(f"{run} is in use by the job with pid {first.pid} on host {socket.gethostname()}, running since 20")
          == 1, f"names the first, once:\n{output}")
    check((run / "config.ini").read_text() == config, "config.ini is the first's")
    first.send_signal(signal.SIGTERM)
    finish(first, expect=75)
    steps = [line["step"] for line in metrics(run)]
    check(steps == list(range(1, len(steps) + 1)), f"each step once: {steps}")
    check(not (run / "lock").exists(), "the lock is gone")
    killed = start(*command, "--train.steps", 100000, faults="sleep-reduce@*")
    wait_for(lambda: len(metrics(run)) > len(steps), "a step")
    killed.kill()
    finish(killed, expect=137)
    output = pixelbert(*command, "--train.steps", len(steps), ranks=2)
    check(f"was left behind by the job with pid {killed.pid}" in output, output)


def test_a_suspended_job_that_was_taken_over_ends_without_writing(folder):
    """As on a file system without locks between hosts: the lock file names another job."""
    run = folder / "run"
    job = start(*pretrain(run, make_scenes(folder / "shards"), *BATCH, "--train.steps", 100000), faults="sleep-reduce@*")
    wait_for(lambda: (run / "metrics.jsonl").exists() and metrics(run), "a step")
    job.send_signal(signal.SIGSTOP)
    lock = (run / "lock").read_text()
    (run / "lock").write_text(lock.replace(f"host {socket.gethostname()}\n", "host elsewhere\n"))
    time.sleep(11)  # more than two periods
    lines = (run / "metrics.jsonl").read_bytes()
    job.send_signal(signal.SIGCONT)
    output = finish(job, expect=1, seconds=60)
    check(f"now belongs to another job, the job with pid {job.pid} on host elsewhere" in output, output)
    check((run / "metrics.jsonl").read_bytes() == lines and "host elsewhere" in (run / "lock").read_text(), "all as it was")


def test_a_reader_that_ends_is_no_failure(folder):
    """Tests `| head` on ranks, and closed descriptors."""
    shards = make_scenes(folder / "shards")
    for number, redirection in enumerate(["2>&1 | head -2", ">&- 2>&- <&-", "<&- | head -0"]):
        run = folder / f"run-{number}"
        command = " ".join(shlex.quote(str(word)) for word in [LOCAL, "-n", 2, PIXELBERT, *pretrain(run, shards, *BATCH)])
        job = subprocess.run(["bash", "-c", f"{command} {redirection}; exit ${{PIPESTATUS[0]}}"], timeout=120)
        check(job.returncode == 0 and len(metrics(run)) == 6, f"{redirection}: {job}, {len(metrics(run))} steps")


def in_small_shared_memory(megabytes, *command):
    """Returns the command with its own /dev/shm."""
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    script = f'mount -t tmpfs -o size={megabytes}m tmpfs /dev/shm && exec "$@"'
    return subprocess.run([*namespace, "sh", "-c", script, "sh", *map(str, command)], timeout=240, text=True,
                          errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_too_little_shared_memory_is_named(folder):
    command = pretrain(folder / "run", make_scenes(folder / "shards"), *BATCH)
    for megabytes in (2, 4):
        job = in_small_shared_memory(megabytes, LOCAL, "-n", 4, PIXELBERT, *command)
        check(job.returncode == 1, f"{megabytes} MiB: exit code {job.returncode}\n{job.stdout}")
        for words in (f"/dev/shm on host {socket.gethostname().split('.')[0]} is too small: expected 8.0 MiB free",
                      f"of {megabytes}.0 MiB", "--shm-size"):
            check(job.stdout.count(words) == 1, f"'{words}' once:\n{job.stdout}")


def test_what_a_killed_job_leaves_in_shared_memory_is_cleared_away(folder):
    """Runs with its own /dev/shm, beside a living job. Files younger than a minute stay."""
    shards = make_scenes(folder / "shards")
    first, second = (" ".join(shlex.quote(str(word)) for word in [LOCAL, "-n", 2, PIXELBERT, *pretrain(
        folder / name, shards, *BATCH, "--train.steps", 100000)]) for name in "ab")
    script = f"""
wait_for_segments() {{ until [ $(ls /dev/shm | grep -c vader) = $1 ]; do sleep 0.1; done; }}
{first} & launcher=$!
wait_for_segments 2
mpirun=$(pgrep -P $launcher mpirun)
kill -9 $launcher $mpirun $(pgrep -P $mpirun)
echo left $(ls /dev/shm | grep vader)
{second} & beside=$!
wait_for_segments 4
touch -d '5 minutes ago' /dev/shm/vader*
{PIXELBERT} pretrain --print-config >/dev/null
echo then $(ls /dev/shm | grep vader)
kill $beside; wait $beside; echo ended with $?"""
    job = in_small_shared_memory(64, "bash", "-c", script)
    said = {line.split()[0]: line.split()[1:] for line in job.stdout.splitlines() if line[:4] in ("left", "then", "ende")}
    check(len(said["left"]) == 2 and len(said["then"]) == 2 and not set(said["left"]) & set(said["then"]), job.stdout)
    check(said["ended"] == ["with", "75"], job.stdout)


def test_phases_add_up_to_the_step(folder):
    run = folder / "run"
    pixelbert(*pretrain(run, make_scenes(folder / "shards"), *BATCH, "--checkpoint.every-steps", 3), ranks=2)
    for line in metrics(run):
        total = sum(line["phase_seconds"].values())
        check(abs(total - line["seconds"]) <= 1e-6 * line["seconds"], json.dumps(line))
        check(set(line["phase_seconds"]) == {"data", "forward", "backward", "reduce_wait", "optimizer", "checkpoint",
                                             "other"}, json.dumps(line))
    saves = [seconds for line in metrics(run) for seconds in line["checkpoint_seconds"]]
    check(len(saves) == 2 and min(saves) > 0.001, f"two saves, beside steps 4 and after step 6: {saves}")
    check(not metrics(run)[2]["checkpoint_seconds"], "the save after step 3 ends in a later one")


if __name__ == "__main__":  # tests/simulated_cuda has some of them
    run_tests(sys.modules[__name__])
