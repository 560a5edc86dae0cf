#!/usr/bin/env python3
"""Draws learning curves of one or more runs: tools/plot.py RUN... --out curves.png (or .svg, .pdf, .html)

RUN is a run folder or its metrics.jsonl. There is one panel for each loss and accuracy, the gradient norm and the speed. Each run
has a colour, and a cross marks a skipped step. Curves are means over a window of --smooth steps.
"""

import argparse
import io
import json
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402

NUMBERS = ["step", "samples", "seconds"]  # every step has these

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Learning curves</title>
<style>body {{ margin: 0; }} svg {{ width: 100%; height: auto; }}</style></head>
<body>
{svg}
</body></html>
"""


def read_run(path):
    file = path / "metrics.jsonl" if path.is_dir() else path
    if not file.exists():
        sys.exit(f"{path}: expected a run folder with metrics.jsonl, or that file")
    steps, odd = [], 0
    with file.open(errors="replace") as lines:
        for line in lines:
            try:
                step = json.loads(line)
            except (json.JSONDecodeError, RecursionError):
                step = None
            if isinstance(step, dict) and all(isinstance(step.get(name), (int, float)) for name in NUMBERS):
                steps.append(step)
            else:
                odd += 1
    if odd:
        print(f"{file}: {odd} lines are no step's and are left out", file=sys.stderr)
    if not steps:
        sys.exit(f"{file} has no step yet")
    return steps


def panels_of(steps):
    """name -> one value per step, None where the step has none"""
    panels = {}
    names = {name for step in steps for name in step if name.endswith(("_loss", "_accuracy"))}  # ITM may begin later
    for name in sorted(names, key=lambda name: (name.endswith("_accuracy"), name)):
        panels[name.replace("_", " ")] = [step.get(name) for step in steps]
    panels["gradient norm"] = [step.get("gradient_norm") for step in steps]
    before = [0] + [step["samples"] for step in steps[:-1]]
    panels["samples/s"] = [(step["samples"] - seen) / step["seconds"] for step, seen in zip(steps, before)]
    panels["samples/s"][0] = None  # what was seen before the first line is not known
    return panels


def smooth(values, window):
    """Means over the last `window` values that are numbers."""
    means, recent = [], []
    for value in values:
        if value is not None and value == value and abs(value) != float("inf"):
            recent = (recent + [value])[-window:]
        means.append(sum(recent) / len(recent) if recent else None)
    return means


def curves_of(runs, window):
    """name of a panel -> run -> its steps that have a value, as (step's line, x, y)"""
    curves = {}
    for run, steps in runs.items():
        for name, values in panels_of(steps).items():
            points = [(step, step["step"], y) for step, y in zip(steps, smooth(values, window)) if y is not None]
            if points:  # a run of one step has no speed yet
                curves.setdefault(name, {})[run] = points
    return curves


def draw(runs, window):
    curves = curves_of(runs, window)
    if not curves:
        sys.exit("no step has a finite value")
    colours = {run: f"C{number}" for number, run in enumerate(runs)}
    columns = min(len(curves), 2)
    rows = -(-len(curves) // columns)
    figure, axes = pyplot.subplots(rows, columns, figsize=(6 * columns, 3 * rows), squeeze=False, layout="constrained")
    for (name, of_runs), axis in zip(curves.items(), axes.flat):
        for run, points in of_runs.items():
            axis.plot([x for _, x, _ in points], [y for _, _, y in points], label=run, linewidth=1.2, color=colours[run])
            skipped = [(x, y) for step, x, y in points if step.get("skipped")]
            if skipped:
                axis.plot(*zip(*skipped), "x", color=colours[run])
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.grid(alpha=0.3)
        if name == "gradient norm":
            axis.set_yscale("log")
    for axis in list(axes.flat)[len(curves):]:
        axis.remove()
    if len(runs) > 1:
        axes[0][0].legend(fontsize=8)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--smooth", type=int, default=20, help="steps; 1: every step as it was")
    options = parser.parse_args()
    if options.smooth < 1:
        parser.error(f"--smooth must be at least 1, found {options.smooth}")

    figure = draw({str(path): read_run(path) for path in options.runs}, options.smooth)
    if options.out.suffix == ".html":
        svg = io.StringIO()
        figure.savefig(svg, format="svg")
        text = svg.getvalue()
        options.out.write_text(PAGE.format(svg=text[text.index("<svg"):]))
    else:
        try:
            figure.savefig(options.out, dpi=150)
        except ValueError as error:
            parser.error(f"--out {options.out}: {error}")
    print(f"wrote {options.out}")


main()
