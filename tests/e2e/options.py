"""Options at the limits of what is accepted, texts of any characters, and a metrics.jsonl changed by others."""

import math
import os
import subprocess
import sys

from support import PIXELBERT, ROOT, check, make_scenes, metrics, pixelbert, pretrain, run_tests, start

QUICK = ["--data.global-batch", 4, "--data.micro-batch", 2, "--train.steps", 3]
LARGEST = 2**31 - 1

# Each of these either works for three steps or is wrong usage (exit code 2) before there is a run folder.
EDGES = [
    ["--optim.backbone-momentum", 0],
    ["--optim.backbone-momentum", 0, "--optim.clip-norm", 1e-300],
    ["--optim.backbone-algorithm", "adamw", "--optim.beta1", 0, "--optim.beta2", 0, "--optim.eps", 1.2e-38],
    ["--optim.eps", 1e-300],
    ["--optim.backbone-rate", 0, "--optim.transformer-rate", 0],
    ["--optim.warmup-steps", 0, "--optim.drop-epochs", ""],
    ["--optim.warmup-steps", 2**63 - 1, "--optim.drop-epochs", 2**63 - 1],
    ["--optim.backbone-rate", "nan"],
    ["--optim.transformer-rate", "-1"],
    ["--optim.clip-norm", "inf"],
    ["--model.dropout", 0],
    ["--model.dropout", 0.9999],
    ["--model.dropout", 0.999995],
    ["--model.dropout", 1],
    ["--model.dropout", "nan"],
    ["--data.mask-probability", 1e-300],
    ["--data.mask-probability", 0.9999999999999999],
    ["--data.mask-probability", 0],
    ["--image.short-side", 1, "--image.long-side", 1, "--model.batch-norm", "frozen"],
    ["--image.short-side", 33, "--image.long-side", 65],
    ["--image.short-side", 2**40, "--image.long-side", 2**40],
    ["--model.sampled-pixels", 1],
    ["--model.sampled-pixels", LARGEST],
    ["--model.hidden", 1, "--model.heads", 1, "--model.intermediate", 1],
    ["--model.layers", 2**40],
    ["--model.hidden", 2**40],
    ["--model.positions", 2**40],
    ["--text.max-tokens", 3, "--model.positions", 3],
    ["--data.texts-per-image", LARGEST, "--data.blocks-in-window", LARGEST, "--data.queue-batches", LARGEST],
    ["--data.blocks-in-window", 2**62],
    ["--data.threads", 2**62],
    ["--data.global-batch", 2**62, "--data.micro-batch", 2**62],
    ["--train.threads", 2**32 + 1],
    ["--train.epochs", LARGEST],
    ["--train.epochs", 2**62],
    ["--train.seed", 2**64 - 1],
    ["--train.seed", 2**64],
    ["--train.steps", "1e3"],
    ["--checkpoint.keep", 2**63 - 1, "--checkpoint.every-steps", 2**63 - 1, "--checkpoint.every-minutes", 1e300],
    ["--checkpoint.every-minutes", 1e-300],
    ["--comm.bucket-mib", 2**20],
    ["--comm.bucket-mib", 2**62],
    ["--metrics.progress-every-seconds", 0],
    ["--metrics.progress-every-seconds", -1],
    ["--metrics.address", ""],
    ["--metrics.address", "127.0.0.1,0.0.0.0"],
    ["--metrics.port", 65536],
]


def test_each_edge_works_or_is_wrong_usage(folder):
    shards = make_scenes(folder / "shards")
    wrong = []
    for number, options in enumerate(EDGES):
        run = folder / f"run-{number}"
        process = start(*pretrain(run, shards, *QUICK, *options))
        output, _ = process.communicate(timeout=300)
        if process.returncode == 0:
            steps = metrics(run)
            sound = len(steps) == 3 and all(step["loss"] is not None and math.isfinite(step["loss"]) for step in steps)
        else:
            sound = process.returncode == 2 and not run.exists() and any(
                str(word) in output for word in options if str(word).startswith("--"))
        print(f"{options}: {process.returncode}", flush=True)
        if not sound:
            wrong.append(f"{options}: exit code {process.returncode}\n{output}")
    check(not wrong, "\n".join(wrong))


def test_a_run_without_momentum_resumes(folder):
    shards = make_scenes(folder / "shards")
    options = [*QUICK, "--optim.backbone-momentum", 0]
    pixelbert(*pretrain(folder / "whole", shards, *options))
    pixelbert(*pretrain(folder / "cut", shards, *options, "--train.steps", 1))
    pixelbert(*pretrain(folder / "cut", shards, *options))
    check([step["loss"] for step in metrics(folder / "cut")] == [step["loss"] for step in metrics(folder / "whole")],
          "the same losses")


def test_a_run_folder_may_have_any_name(folder):
    shards = make_scenes(folder / "shards")
    script = (ROOT / "slurm/job.sh").read_text()
    values_of = script[script.index("values_of() {"):]
    values_of = values_of[:values_of.index("\n}\n") + 3]
    for name in ("a#b", "blank ", " blank", '"quoted"', '"', "back\\slash\\", "a=[b]", "[model]", "ä", os.fsdecode(b"\xff"), "\t"):
        run = folder / name
        pixelbert(*pretrain(run, shards, *QUICK, "--train.steps", 1))
        pixelbert("pretrain", "--config", run / "config.ini", "--train.steps", 2)
        check([step["step"] for step in metrics(run)] == [1, 2], f"'{name}' continues with its config.ini")
        told = subprocess.run(["bash", "-c", f'{values_of}\nresolved=$("$@" --print-config)\nvalues_of run dir', "bash",
                               PIXELBERT, "pretrain", "--config", run / "config.ini"], capture_output=True, check=True)
        check(told.stdout == os.fsencode(run) + b"\n", f"slurm/job.sh finds '{name}', not {told.stdout}")
    output = pixelbert(*pretrain(folder / "a\nb", shards, *QUICK), expect=2)
    check("--run.dir" in output and "line break" in output, output)
    check(not (folder / "a\nb").exists(), "nothing is begun")


def test_an_odd_line_costs_no_good_one(folder):
    shards = make_scenes(folder / "shards")
    run = folder / "run"
    options = [*QUICK, "--checkpoint.every-steps", 4]
    pixelbert(*pretrain(run, shards, *options, "--train.steps", 8))
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    odd = [b"\n", b"# a note\n", bytes(50) + b"\n", lines[3][:40] + b"\n"]
    (run / "metrics.jsonl").write_bytes(b"".join(lines[:3] + odd + lines[3:]))
    output = pixelbert(*pretrain(run, shards, *options, "--train.steps", 10))
    check([step["step"] for step in metrics(run)] == list(range(1, 11)), "each step once")
    check((run / "metrics.jsonl").read_bytes().startswith(b"".join(lines)), "the lines as they were")
    check((run / "metrics.jsonl.odd").read_bytes() == b"".join(odd), "the odd ones are kept")
    check("4 lines" in output and "metrics.jsonl.odd" in output and "line 4" in output, output)

    (run / "metrics.jsonl").write_bytes(b"".join(lines[:3] + odd + lines[3:]))
    subprocess.run([sys.executable, ROOT / "tools/plot.py", run, "--out", folder / "curves.png"], check=True)


def test_a_metrics_file_that_is_none_is_named_before_the_first_step(folder):
    shards = make_scenes(folder / "shards")
    run = folder / "run"
    (run / "metrics.jsonl").mkdir(parents=True)
    output = pixelbert(*pretrain(run, shards, *QUICK), expect=1)
    check("metrics.jsonl to be a file" in output and "step 1/3" not in output, output)


run_tests(sys.modules[__name__])
