#!/usr/bin/env python3
"""Measures the cost of the metrics: steps of two ranks with endpoints scraped every second, and without, in turn.

    benchmarks/metrics.py [--rounds N] [--steps N]

Each round is a run of either kind on the same scenes, alternating which goes first. Prints the median step of each run
without its checkpoint, and the median of the rounds' ratios. metrics.jsonl, from which the steps are read, is always written.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PIXELBERT = Path(os.environ.get("PIXELBERT", ROOT / "build/bin/pixelbert"))
# Short steps, so that the metrics' share of the time is as large as possible.
MODEL = ["--model.backbone", "resnet18", "--model.frozen-stages", 0, "--model.visual-order", "conv", "--model.layers", 2,
         "--model.hidden", 64, "--model.heads", 2, "--image.short-side", 64, "--image.long-side", 64, "--train.threads", 1,
         "--data.threads", 1, "--data.global-batch", 32, "--data.micro-batch", 16, "--train.epochs", 1000,
         "--checkpoint.every-steps", 0]
SKIPPED_STEPS = 5


def free_port():
    with socket.socket() as one, socket.socket() as next_one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        next_one.bind(("127.0.0.1", port + 1))
        return port


def scrape(ports, stop):
    while not stop.wait(1):
        for port in ports:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read()
            except OSError:
                pass  # not there yet, or gone


def median_step(folder, steps, with_metrics):
    options = ["--metrics.port", free_port() if with_metrics else 0]
    stop = threading.Event()
    scraper = threading.Thread(target=scrape, args=([options[1], options[1] + 1], stop))
    if with_metrics:
        scraper.start()
    with tempfile.TemporaryDirectory(dir=folder) as run:
        command = [ROOT / "launch/local.sh", "-n", 2, PIXELBERT, "pretrain", *MODEL, "--data.shards", folder / "scenes",
                   "--run.dir", run, "--train.steps", steps, *options]
        try:
            subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        finally:
            stop.set()
        lines = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(line["seconds"] - line["phase_seconds"]["checkpoint"] for line in lines[SKIPPED_STEPS:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pixelbert-metrics-") as folder:
        folder = Path(folder)
        subprocess.run([PIXELBERT, "shard", "scenes", "--out", folder / "scenes", "--count", "96", "--size", "64"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ratios = []
        for i in range(options.rounds):
            order = [True, False] if i % 2 else [False, True]
            seconds = {kind: median_step(folder, options.steps, kind) for kind in order}
            ratios.append(seconds[True] / seconds[False])
            print(f"with {1000 * seconds[True]:.2f} ms, without {1000 * seconds[False]:.2f} ms: {ratios[-1]:.4f}", flush=True)
        print(f"median of the ratios {statistics.median(ratios):.4f}, from {min(ratios):.4f} to {max(ratios):.4f}")


main()
