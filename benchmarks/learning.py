#!/usr/bin/env python3
"""Measures what a model learns on scenes, and the effect of each choice: benchmarks/learning.py [RECIPE...] [options]

Pre-trains each recipe from random weights on two ranks, evaluates it on new scenes, with images and with blank images, and
prints a row of a table, in percent with the interval (95 %). Curves are in runs/learning/RECIPE/run/metrics.jsonl. Run
the command again to continue.
"""

import argparse
import sys

from jobs import OUT, evaluate, minutes_of, precision, pretrain, scenes, steps_of, with_interval

# Each is the tiny preset except for these options: one change, one row.
ONE_OBJECT = {
    "tiny": [],
    "itm-from-the-start": ["--train.mlm-epochs", 0],
    "pool": ["--model.visual-order", "conv-pool", "--image.short-side", 128],  # at 128 px a 2 x 2 grid remains
    "no-pool-128": ["--image.short-side", 128],  # what to compare it with
    "pixel-layernorm": ["--model.pixel-layernorm", "true"],
    "mlm-on-negatives": ["--data.mlm-on-negatives", "true"],
    "sgd-cnn": ["--optim.backbone-algorithm", "sgd", "--optim.backbone-rate", "1e-2"],
    "one-text": ["--data.texts-per-image", 1],
    "four-texts": ["--data.texts-per-image", 4],
    "dropout": ["--model.dropout", "0.1"],
    "small-micro-batch": ["--data.micro-batch", 32],
}
# Two to four objects, and texts that relate them, once one object is known: more images, larger images, more steps.
SEVERAL_OBJECTS = {
    "several": ["--init", OUT / "tiny/run", "--image.short-side", 128, "--image.long-side", 172,
                "--train.mlm-epochs", 0, "--train.epochs", 10, "--optim.drop-epochs", "6,8"],
}
# Level of the scenes, images, options.
RECIPES = {name: (level, images, options)
           for level, images, recipes in ((1, 40000, ONE_OBJECT), (3, 50000, SEVERAL_OBJECTS))
           for name, options in recipes.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", help=" ".join(RECIPES) + "; default: one object's")
    parser.add_argument("--steps", type=int, default=2100, help="steps of 128 pairs")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and masks")
    parser.add_argument("--rates", help="the rates of both optimizers where a recipe says nothing; default: the preset's")
    parser.add_argument("--precision", type=precision, default="float32", help="float32 or bf16")
    options = parser.parse_args()
    if unknown := set(options.recipes) - set(RECIPES):
        sys.exit(f"no recipe {', '.join(unknown)}: there are {', '.join(RECIPES)}")

    print("| recipe | steps | minutes | ITM | MLM | MLM, blank images |\n| --- | --- | --- | --- | --- | --- |", flush=True)
    for name in options.recipes or ONE_OBJECT:
        level, images, changes = RECIPES[name]
        if options.rates:
            name = f"{name}-{options.rates}"
            changes = changes + [word for option in ("--optim.backbone-rate", "--optim.transformer-rate")
                                 if option not in changes for word in (option, options.rates)]
        if options.seed:
            name, changes = f"{name}-seed-{options.seed}", [*changes, "--train.seed", options.seed]
        run = pretrain(OUT / name / "run", scenes(level, 1, images), options.steps, options.precision, *changes)
        test = scenes(level, 2, 500)
        seen, blank = evaluate(run, test), evaluate(run, test, "--blank-images")
        shares = [with_interval(share, 500) for share in (seen["itm_accuracy"], seen["mlm_accuracy"], blank["mlm_accuracy"])]
        print(f"| {name} | {len(steps_of(run))} | {minutes_of(run):.1f} | {' | '.join(shares)} |", flush=True)


main()
