#!/usr/bin/env python3
"""What pre-training is good for: benchmarks/downstream.py [ROW...] [--steps N] [--task-steps N] [--precision P]

The six rows of the paper's ablation (Table 6) on scenes: each is pre-trained (or not), fine-tuned for VQA, NLVR2 and
retrieval for the same number of steps, and evaluated on scenes of a seed it has never seen. Prints the table beside the
paper's. Runs are in runs/learning/table6; run again to go on. Everything at the defaults takes hours on two cores.
"""

import argparse
import sys

from jobs import FINETUNE, OUT, TINY, evaluate, launch, pretrain, scenes

# Row: what pre-training differs in from the tiny preset with 6 of 9 pixels; the paper's VQA, TR@1, IR@1 and NLVR2.
ROWS = {
    "none": (None, (63.50, 52.4, 39.6, 52.0)),
    "itm": (["--train.objectives", "itm"], (65.24, 69.0, 55.5, 51.9)),
    "mlm": (["--train.objectives", "mlm"], (71.13, 67.1, 52.7, 70.9)),
    "all-pixels": (["--model.sampled-pixels", 0], (70.84, 72.0, 57.7, 71.3)),
    "random-pixels": ([], (71.35, 75.7, 59.8, 71.7)),
    "larger-cnn": (["--model.backbone", "resnet34"], (74.45, 87.0, 71.5, 76.5)),
}
TASKS = {
    "vqa": [],
    "nlvr2": ["--data.global-batch", 64, "--data.micro-batch", 32],
    "retrieval": ["--data.global-batch", 64, "--data.micro-batch", 32, "--retrieval.foreign-texts", 20],
}
def finetune(folder, task, init, options):
    run = folder / task
    train = scenes(1, 1, 20000, "pairs" if task == "retrieval" else task)
    launch("finetune", "--task", task, "--init", init, "--data.shards", train, "--run.dir", run, *FINETUNE, *TASKS[task],
           *(TINY if init == "none" else []), "--train.steps", options.task_steps, "--train.precision", options.precision)
    return run


def figures(row, options):
    folder = OUT / "table6" / row
    changes = ROWS[row][0]
    init = "none" if changes is None else pretrain(folder / "pretrain", scenes(1, 1, 20000), options.steps,
                                                   options.precision, "--model.sampled-pixels", 6, *changes)
    vqa = evaluate(finetune(folder, "vqa", init, options), scenes(1, 2, 500, "vqa"))
    nlvr2 = evaluate(finetune(folder, "nlvr2", init, options), scenes(1, 2, 1000, "nlvr2"))
    retrieval = evaluate(finetune(folder, "retrieval", init, options), scenes(1, 2, 500))
    return [100 * value for value in (vqa["vqa_score"], retrieval["tr_r1"], retrieval["ir_r1"], nlvr2["accuracy"])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=" ".join(ROWS) + "; default: all")
    parser.add_argument("--steps", type=int, default=1500, help="of pre-training, 128 pairs each")
    parser.add_argument("--task-steps", type=int, default=1000, help="of each fine-tuning")
    parser.add_argument("--precision", default="float32", help="float32 or bf16")
    options = parser.parse_args()
    if unknown := set(options.rows) - set(ROWS):
        sys.exit(f"no row {', '.join(unknown)}: there are {', '.join(ROWS)}")
    print("| pre-training | VQA | TR@1 | IR@1 | NLVR2 | paper: VQA | TR@1 | IR@1 | NLVR2 |\n" + "| --- " * 9 + "|", flush=True)
    for row in options.rows or ROWS:
        ours = " | ".join(f"{value:.1f}" for value in figures(row, options))
        print(f"| {row} | {ours} | {' | '.join(map(str, ROWS[row][1]))} |", flush=True)


main()
