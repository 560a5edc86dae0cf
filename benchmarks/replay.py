#!/usr/bin/env python3
"""Compares the step that `pixelbert plan` predicts with the measured one: benchmarks/replay.py [--ranks 2 3 4]
[--mbit 25 50 100] [--precision float32 bf16] [--rounds N] [--out FILE.json]

Each rank is a host of its own, a network namespace. While a run trains, tc limits their links and frees them again, for a
few steps each, so that all steps meet the same machine: those without a limit calibrate the plan, and the others are
compared with what it predicts. Needs root and sshd, as the tests with the label cluster do.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".deps/venv"
if Path(sys.prefix) != VENV and (VENV / "bin/python").exists():
    os.execv(VENV / "bin/python", [str(VENV / "bin/python"), *sys.argv])
os.environ.setdefault("PIXELBERT", str(ROOT / "build/bin/pixelbert"))
os.environ.setdefault("PIXELBERT_SHARED_DATA", str(ROOT.parent / "shared/data"))
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(ROOT / "tests/cluster"))

from cluster import ssh_hosts  # noqa: E402
from support import PIXELBERT, finish, make_scenes, metrics, pretrain, wait_for  # noqa: E402

# A frozen CNN, so that there are only 13 MB of gradients, in seven buckets: a limit at which the network matters is then far below
# what a core can send, also on a busy machine. Twelve micro-batches are equal work for 2, 3 and 4 ranks, but those of each of 2 ranks
# are two nodes of the tree.
JOB = ["--data.global-batch", 48, "--data.micro-batch", 4, "--model.frozen-stages", 5, "--model.hidden", 256, "--model.layers", 4,
       "--model.heads", 4, "--comm.bucket-mib", 2]
BLOCK = 4  # steps with the same limit; the first is left out
STREAM = """
import socket, sys, time
if sys.argv[1] == "receive":
    connection, _ = socket.create_server(("", 5999)).accept()
    size, begin = 0, None
    while piece := connection.recv(1 << 20):
        begin = begin or time.monotonic()
        size += len(piece)
    print(size * 8e-6 / (time.monotonic() - begin))
else:
    time.sleep(0.5)
    connection = socket.create_connection((sys.argv[2], 5999))
    end = time.monotonic() + 2
    while time.monotonic() < end: connection.sendall(b"x" * (1 << 18))
"""


def limit(hosts, ranks, mbit):
    for rank in range(ranks):
        hosts.limit(f"n{rank}", f"{mbit}mbit" if mbit else None)


def stream_mbit(hosts):
    """Returns what a TCP connection carries: headers take some of the limit."""
    receiver = subprocess.Popen(hosts.command("n0", sys.executable, "-c", STREAM, "receive"), stdout=subprocess.PIPE, text=True)
    hosts.on("n1", sys.executable, "-c", STREAM, "send", "n0")
    return float(receiver.communicate(timeout=60)[0])


def train(hosts, ranks, run, shards, precision, mbits, rounds):
    """Trains while the limits take turns. Returns the steps of each limit; None: no limit."""
    turns = [turn for mbit in mbits for turn in (None, mbit)] * rounds + [None]
    limit(hosts, ranks, None)
    last = (len(turns) + 1) * BLOCK  # the first block opens connections, and the last step saves
    job = hosts.start(ranks, *pretrain(run, shards, *JOB, "--train.precision", precision, "--train.steps", last))
    steps = {mbit: [] for mbit in (None, *mbits)}
    for block, mbit in enumerate(turns, start=1):
        wait_for(lambda: job.poll() is not None or done(run) >= block * BLOCK, f"step {block * BLOCK}", 600)
        limit(hosts, ranks, mbit)
        steps[mbit] += range(block * BLOCK + 2, block * BLOCK + BLOCK + 1)
    finish(job, seconds=600)
    lines = {line["step"]: line for line in metrics(run)}
    return {mbit: [lines[step] for step in of_one if step < last] for mbit, of_one in steps.items()}, lines[last]


def done(run):
    path = run / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def calibrate(run, free, save):
    """Leaves only the steps without a limit in the run folder, and the one that saved. The first two are not counted."""
    lines = [free[0], free[0], *free, save]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def predicted(run, shards, ranks, precision, mbit):
    command = pretrain(run, shards, *JOB, "--train.precision", precision)[1:]
    output = subprocess.run([PIXELBERT, "plan", *map(str, command), "--nodes", str(ranks), "--ranks-per-node", "1",
                             "--network-gbit", str(mbit / 1000), "--calibration", str(run)],
                            check=True, capture_output=True, text=True).stdout
    found = re.search(r": ([\d.e+]+) (ms|s) a step", output)
    return float(found[1]) * (1e-3 if found[2] == "ms" else 1)


def seconds_of(step):
    return step["seconds"] - step["phase_seconds"]["checkpoint"]


def median(steps):
    return statistics.median(map(seconds_of, steps))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--mbit", type=int, nargs="+", default=[25, 50, 100])
    parser.add_argument("--precision", nargs="+", default=["float32", "bf16"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = []
    print("precision  ranks  Mbit/s  without limit  measured  predicted   ratio  load")
    with tempfile.TemporaryDirectory(prefix="pixelbert-replay-") as folder:
        folder = Path(folder)
        shards = make_scenes(folder / "shards", 400)
        with ssh_hosts(max(arguments.ranks)) as hosts:
            carried = {}
            for mbit in arguments.mbit:
                limit(hosts, 2, mbit)
                carried[mbit] = stream_mbit(hosts)
            for precision in arguments.precision:
                for ranks in arguments.ranks:
                    run = folder / f"{precision}-{ranks}"
                    steps, save = train(hosts, ranks, run, shards, precision, arguments.mbit, arguments.rounds)
                    calibrate(run, steps[None], save)
                    for mbit in arguments.mbit:
                        row = dict(precision=precision, ranks=ranks, mbit=mbit, carried_mbit=carried[mbit],
                                   without_limit=median(steps[None]), measured=median(steps[mbit]),
                                   predicted=predicted(run, shards, ranks, precision, carried[mbit]),
                                   load=os.getloadavg()[0], steps=steps[mbit], free=steps[None])
                        rows.append(row)
                        print(f"{precision:9}  {ranks:5}  {carried[mbit]:6.0f}  {row['without_limit']:11.2f} s"
                              f"  {row['measured']:6.2f} s  {row['predicted']:7.2f} s"
                              f"  {row['predicted'] / row['measured']:6.3f}  {row['load']:4.1f}", flush=True)
                        if arguments.out:
                            arguments.out.write_text(json.dumps(rows) + "\n")


main()
