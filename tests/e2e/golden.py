"""Checks byte for byte what users and their files rely on: --help, --print-config, trainer.json.

PIXELBERT_WRITE_GOLDEN=1 ./tests/run.sh e2e -R golden makes the files in golden/ again, after a change that means to change them;
git diff shows what changed.
"""

import json
import os
import pathlib
import re
import sys
import tempfile

from support import ROOT, check, make_scenes, pixelbert, pretrain, run_tests

GOLDEN = ROOT / "tests" / "e2e" / "golden"
COMMANDS = ["shard", "pretrain", "finetune", "evaluate", "predict", "visualize", "import", "export", "inspect",
            "diagnose", "plan", "doctor"]
FINETUNINGS = ["vqa", "nlvr2", "retrieval-coco", "retrieval-flickr30k"]


def without_places(text, folder):
    """Replaces what differs between machines, commits and runs."""
    text = text.replace(str(folder), "FOLDER").replace(str(ROOT), "ROOT")
    text = re.sub(r'"code_version": "[^"]*"', '"code_version": "VERSION"', text)
    text = re.sub(r'"(gradient|instructions|library|processor)": "[^"]+"', r'"\1": "OF THE MACHINE"', text)
    text = re.sub(r'"save_seconds": [^,]*', '"save_seconds": SECONDS', text)
    return re.sub(r'"metrics_line": "(\\.|[^"\\])*"', '"metrics_line": "LINE"', text)


def helps(_):
    return {f"help-{command}.txt": pixelbert(command, "--help") for command in COMMANDS}


def configurations(_):
    texts = {"config-pretrain.ini": pixelbert("pretrain", "--run.dir", "run", "--data.shards", "shards", "--print-config")}
    for preset in sorted((ROOT / "configs").glob("*.ini")):
        command = "finetune" if preset.stem in FINETUNINGS else "pretrain"
        texts[f"config-{preset.name}"] = pixelbert(command, "--config", preset, "--print-config")
    return texts


def checkpoints(folder):
    shards = make_scenes(folder / "shards")
    batch = ["--data.global-batch", 4, "--data.micro-batch", 2]
    pixelbert(*pretrain(folder / "run", shards, *batch, "--train.steps", 2))
    pixelbert(*pretrain(folder / "second", shards, *batch, "--train.steps", 1, "--init", folder / "run"))
    texts = {}
    for run in ("run", "second"):
        trainer = (folder / run / "checkpoints" / "latest" / "trainer.json").read_text()
        check(json.loads(trainer)["code_version"].count("(") == 1, f"names the commit:\n{trainer}")
        texts[f"trainer-{run}.json"] = without_places(trainer, folder)
    return texts


def compare(texts):
    different = [name for name, text in texts.items()
                 if not (GOLDEN / name).exists() or (GOLDEN / name).read_text() != text]
    for name in different:
        (GOLDEN / f"{name}.found").write_text(texts[name])
    check(not different, f"other than in {GOLDEN}: {', '.join(different)} (the new text is beside each, as NAME.found; "
                         "PIXELBERT_WRITE_GOLDEN=1 accepts it)")


def test_help_of_every_command(folder):
    compare(helps(folder))


def test_the_configuration_of_every_preset(folder):
    compare(configurations(folder))


def test_what_a_checkpoint_says_of_its_training(folder):
    compare(checkpoints(folder))


if os.environ.get("PIXELBERT_WRITE_GOLDEN"):
    GOLDEN.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        for make in (helps, configurations, checkpoints):
            for name, text in make(pathlib.Path(place)).items():
                (GOLDEN / name).write_text(text)
run_tests(sys.modules[__name__])
