"""Run folders that were copied, lost or cannot be written, and result files that cannot: found before the work."""

import contextlib
import json
import shutil
import subprocess
import sys

from support import check, make_scenes, metrics, pixelbert, pretrain, run_tests, weights

BATCH = ["--data.global-batch", 16, "--data.micro-batch", 8]


def short(folder, *options, run="run"):
    return pretrain(folder / run, folder / "shards", *BATCH, "--checkpoint.every-steps", 2, *options)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@contextlib.contextmanager
def read_only(folder):
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_checkpoints_out_of_reach_stop_the_job(folder):
    make_scenes(folder / "shards")
    run, elsewhere = folder / "run", folder / "elsewhere"
    pixelbert(*short(folder, "--train.steps", 4))
    (run / "checkpoints").rename(elsewhere)
    (run / "checkpoints").symlink_to(folder / "not-mounted")
    before = contents(run)
    for ranks in (1, 2):
        output = pixelbert(*short(folder, "--train.steps", 6), ranks=ranks, expect=1)
        check(f"{run}/checkpoints is a link to {folder}/not-mounted, which is not there" in output, output)
        check(contents(run) == before, "nothing is touched")
    (run / "checkpoints").unlink()
    output = pixelbert(*short(folder, "--train.steps", 6), expect=1)
    check("metrics.jsonl has a step that was saved, but there is no checkpoint in" in output, output)
    check(contents(run) == {path: content for path, content in before.items() if path.name != "checkpoints"}, "nothing")
    (run / "checkpoints").symlink_to(elsewhere)
    output = pixelbert(*short(folder, "--train.steps", 6))
    check("resuming from" in output and [line["step"] for line in metrics(run)] == list(range(1, 7)), output)


def test_a_run_that_never_saved_begins_anew_and_keeps_its_metrics(folder):
    make_scenes(folder / "shards")
    run = folder / "run"
    command = pretrain(run, folder / "shards", *BATCH, "--train.steps", 4)  # saves at its end alone
    pixelbert(*command, faults="throw@3", expect=1)
    first = (run / "metrics.jsonl").read_bytes()
    check(first.count(b"\n") == 3, first)
    pixelbert(*command, faults="throw@3", expect=1)
    check((run / "metrics.jsonl.old").read_bytes() == first, "the lines of the first attempt are kept")
    output = pixelbert(*command)
    check("starts again" in output, output)
    check([line["step"] for line in metrics(run)] == [1, 2, 3, 4], metrics(run))
    check(len((run / "metrics.jsonl.old2").read_text().splitlines()) == 3, "and those of the second")


def test_a_copied_run_goes_on(folder):
    make_scenes(folder / "shards")
    pixelbert(*short(folder, "--train.steps", 4))
    shutil.copytree(folder / "run", folder / "copy")  # follows the link, as cp -rL, zip and object stores do
    copied = weights(folder / "copy")
    output = pixelbert(*short(folder, "--train.steps", 8, run="copy"), ranks=2)
    checkpoints = folder / "copy" / "checkpoints"
    check(f"finished after 8 steps: {checkpoints}/step-000000008" in output, output)
    check(output.count("was not a link and is now") == 1, output)
    check((checkpoints / "latest").readlink().name == "step-000000008", list(checkpoints.iterdir()))
    check(weights(folder / "copy").keys() == copied.keys(), "what latest leads to is whole")
    check((checkpoints / "latest.old" / "manifest.json").is_file(), "nothing is lost")


def test_a_run_folder_that_cannot_be_written_is_found_before_the_first_step(folder):
    make_scenes(folder / "shards")
    run = folder / "run"
    pixelbert(*short(folder, "--train.steps", 4))
    before = contents(run / "checkpoints")
    for victim in (run / "checkpoints", run):
        with read_only(victim):
            output = pixelbert(*short(folder, "--train.steps", 8), ranks=2, expect=1)
            check("Read-only file system" in output and str(victim) in output, output)
        check(len(metrics(run)) == 4 and contents(run / "checkpoints") == before, "no step is made, nothing is left")


def test_results_are_tried_before_the_work(folder):
    make_scenes(folder / "shards")
    run, full, fixed = folder / "run", folder / "a.safetensors", folder / "fixed"
    pixelbert(*short(folder, "--train.steps", 2))
    full.mkdir()
    fixed.mkdir()
    example = ["--image", folder / "shards" / "example.jpg", "--text", "a circle"]
    before = contents(folder)
    for command, option, name in ((["evaluate", "--data.shards", folder / "shards"], "out", "x.json"),
                                  (["predict", *example], "dump", "x.safetensors"),
                                  (["visualize", *example], "out", "x.png"), (["export"], "out", "x.safetensors")):
        for target, reason in ((folder / "absent" / name, "No such file or directory"),
                               (fixed / name, "Read-only file system"), (full, "it is a folder or a device")):
            if command[0] == "visualize" and target == full:
                continue  # has another ending
            with read_only(fixed):
                output = pixelbert(*command, "--checkpoint", run, f"--{option}", target, expect=2)
            check(f"--{option}: cannot" in output and str(target) in output and reason in output, output)
            check("mlm_accuracy" not in output and "match" not in output, f"done in vain: {output}")
    output = pixelbert("evaluate", "--data.shards", folder / "shards", "--checkpoint", run, "--out",
                       folder / "absent" / "x.json", ranks=2, expect=2)
    check(output.count("No such file or directory") == 1, output)
    check(contents(folder) == before, "nothing is left")
    pixelbert("evaluate", "--data.shards", folder / "shards", "--checkpoint", run, "--out", folder / "x.json")
    check("mlm_accuracy" in json.loads((folder / "x.json").read_text())["metrics"], "the scores")


run_tests(sys.modules[__name__])
