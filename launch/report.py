#!/usr/bin/env python3
"""Prints what the quickstart's model has learned, and writes it as one page: launch/report.py DIR (makes DIR/report.html)

DIR/looks/step-N has, for the checkpoint of step N, evaluate.json, evaluate-blank-images.json, and for each scene DIR/unseen-*
what `pixelbert predict` printed (.txt) and what `pixelbert visualize` drew (.png). Needs only Python's standard library.
"""

import base64
import html
import json
import pathlib
import re
import shlex
import sys

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Pixel-BERT: what the model has learned</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222; }}
table {{ border-collapse: collapse; margin: 1em 0; }} td, th {{ padding: .25em .8em; border-bottom: 1px solid #ccc; text-align: left; }}
.scene {{ display: flex; gap: 1.5em; align-items: center; margin-top: 2em; }} .scene > img {{ width: 10em; }}
.attention {{ max-width: 100%; }} .right {{ color: #070; }} .wrong {{ color: #a00; }} pre {{ background: #f4f4f4; padding: .8em; }}
</style></head><body>
<h1>What the model has learned after {step} steps</h1>
<p>The model has seen images of one coloured shape, each with captions. Here it is tested on images it has never seen.</p>
{figures}
<ul>
<li><b>Masked words filled in</b> is the share of hidden words of a caption that the model names correctly. With a blank image it
can only guess from the other words; what it gains with the image, it has read from the image.</li>
<li><b>Captions matched</b> is the share of pairs for which it decides correctly whether the caption belongs to the image. Half of
them do, so 0.5 is what guessing gives. Only the last part of the training teaches it; before, the model learns words alone.</li>
</ul>
<h2>Four scenes</h2>
<p>One word of a caption is hidden. The model's three best guesses follow, each with its probability. By chance it would be
right once in 8 for a colour or a shape, and once in 3 for a size.</p>
{scenes}
<h2>Where it looks</h2>
<p>The same image for each word of a caption, bright where the word attends to it in the last layer. Early in the training the
images look alike; words that the model has learned to read from the image (colours first, then sizes and shapes) come to look at
the object.</p>
{attention}
<h2>How to continue</h2>
<p>The quickstart continues with more steps unless it was stopped, and writes this page again. These commands ask the model yourself,
and show an image word by word:</p>
<pre>{commands}</pre>
</body></html>
"""
METRICS = {"mlm_accuracy": "masked words filled in", "itm_accuracy": "captions matched"}


def figures_of(look):
    """Rows (name, with image, with blank image)."""
    seen, blank = (json.loads((look / name).read_text())["metrics"] for name in ("evaluate.json", "evaluate-blank-images.json"))
    return [(name, seen[key], blank[key]) for key, name in METRICS.items()]


def predictions_of(printed, captions):
    """(text with [MASK], hidden word, guesses), from what predict printed for some texts."""
    for text, guesses in re.findall(r"^(.*\[MASK\].*)\n(?:match.*\n)?\[MASK\] at \d+: (.*)$", printed, re.M):
        pattern = re.escape(text).replace(re.escape("[MASK]"), "(.+)")
        hidden = next(found[1] for found in (re.fullmatch(pattern, caption) for caption in captions) if found)
        yield text, hidden, [guess.split() for guess in guesses.split(", ")][:3]


def image(path, style=""):
    kind = "png" if path.suffix == ".png" else "jpeg"
    return f'<img class="{style}" alt="" src="data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}">'


def table(head, rows):
    def line(cells, tag):
        return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>\n"
    return "<table>\n" + line(head, "th") + "".join(line(row, "td") for row in rows) + "</table>\n"


def main():
    folder = pathlib.Path(sys.argv[1])
    looks = sorted(folder.glob("looks/step-*"))
    steps = [int(look.name.removeprefix("step-")) for look in looks]
    rows = []
    print()
    for step, look in zip(steps, looks, strict=True):
        for name, seen, blank in figures_of(look):
            print(f"after {step} steps: {name} {seen:.3f}, with blank images {blank:.3f}")
            rows.append((step, name, f"{seen:.3f}", f"{blank:.3f}"))
    figures = table(("after step", "on 500 new images", "with the image", "with a blank image"), rows)

    scenes = attention = ""
    for scene in sorted(folder.glob("unseen-*")):
        captions = (scene / "example.txt").read_text().splitlines()
        lines = []
        for text, hidden, guesses in predictions_of((looks[-1] / f"{scene.name}.txt").read_text(), captions):
            said = ", ".join(f"{word} {float(probability):.2f}" for word, probability in guesses)
            right = guesses[0][0] == hidden
            print(f"{'right' if right else 'wrong'}: {text:50} hidden: {hidden:9} guesses: {said}")
            mark = f'<span class="{"right" if right else "wrong"}">{"right" if right else "wrong"}</span>'
            lines.append((html.escape(text), hidden, said, mark))
        scenes += f'<div class="scene">{image(scene / "example.jpg")}{table(("caption", "hidden", "guesses", ""), lines)}</div>\n'
        attention += f"<p>{image(looks[-1] / f'{scene.name}.png', 'attention')}</p>\n"

    scene = folder / "unseen-1"
    program, given = "build/bin/pixelbert", ["--checkpoint", f"{folder}/run", "--image", f"{scene}/example.jpg"]
    commands = [[program, "predict", *given, "--text", "a [MASK] circle"],
                [program, "visualize", *given, "--text", (scene / "example.txt").read_text().splitlines()[0],
                 "--out", "attention.html"]]
    page = PAGE.format(step=steps[-1], figures=figures, scenes=scenes, attention=attention,
                       commands=html.escape("\n".join(map(shlex.join, commands))))
    unfinished = folder / "report.html.new"
    unfinished.write_text(page)
    unfinished.replace(folder / "report.html")
    print(f"\nwritten as a page: {folder / 'report.html'}")


main()
