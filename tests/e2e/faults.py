"""Failures end the job, name their culprit and lose nothing."""

import json
import shlex
import socket
import subprocess
import sys
import time

import h5py
from support import (LOCAL, PIXELBERT, check, check_same_weights, losses, make_scenes, metrics, pixelbert, pretrain,
                     run_tests, weights)

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
    run = check_skipped(folder, "nan-gradient@2/1", "the gradient on rank 1 is not finite")
    # One rank does the same with the same step skipped, up to who has it.
    alone = folder / "alone"
    pixelbert(*pretrain(alone, folder / "shards", *BATCH), faults="nan-gradient@2")
    check(losses(run) == losses(alone), f"losses {losses(run)} and {losses(alone)}")
    check_same_weights(run, alone, 0, "skipped on 2 ranks and on 1")


def test_too_many_skipped_steps_in_a_row_end_the_job(folder):
    output = pixelbert(*pretrain(folder / "run", make_scenes(folder / "shards"), *BATCH, "--train.max-skipped-steps", 2),
                       ranks=2, faults="nan-loss@2/1,nan-loss@3/1", expect=1)
    check(output.count("2 steps in a row were not finite") == 1, f"said once:\n{output}")
    check(output.count("is skipped on all ranks") == 2, f"said once a step:\n{output}")


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
    """A file that one host lacks: its rank says so, and the others do not wait for it."""
    shards = make_scenes(folder / "shards")
    (folder / "0.ini").write_text("[train]\nsteps = 1\n")
    command = " ".join(shlex.quote(str(word)) for word in [PIXELBERT, *pretrain(folder / "run", shards, *BATCH)])
    script = f"exec {command} --config {folder}/$OMPI_COMM_WORLD_RANK.ini"
    job = subprocess.run([LOCAL, "-n", "2", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    check(job.returncode == 2, f"exit code 2, found {job.returncode}:\n{job.stderr}")
    for words in ("rank 1", f"on host {socket.gethostname()}", f"{folder}/1.ini: cannot open the file"):
        check(words in job.stderr, f"'{words}':\n{job.stderr}")


def test_a_damaged_manifest_of_any_bytes_ends_with_1_and_names_it(folder):
    shards = make_scenes(folder / "shards")
    manifest = shards / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"files"', b'"fil\xe9s"', 1))
    output = pixelbert(*pretrain(folder / "run", shards, *BATCH), ranks=2, expect=1)
    check(str(manifest) in output, output)


def test_a_damaged_index_ends_training_and_inspect_with_1_and_names_the_column(folder):
    """Else texts would go to other pictures, and nobody would notice."""
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


def test_phases_add_up_to_the_step(folder):
    run = folder / "run"
    pixelbert(*pretrain(run, make_scenes(folder / "shards"), *BATCH, "--checkpoint.every-steps", 3), ranks=2)
    for line in metrics(run):
        total = sum(line["phase_seconds"].values())
        check(abs(total - line["seconds"]) <= 1e-6 * line["seconds"], json.dumps(line))
        check(set(line["phase_seconds"]) == {"data", "forward", "backward", "reduce_wait", "optimizer", "checkpoint",
                                             "other"}, json.dumps(line))
    check(metrics(run)[2]["phase_seconds"]["checkpoint"] > 0.001, "a checkpoint takes time")


run_tests(sys.modules[__name__])
