"""evaluate, predict, inspect and the rest, as a user calls them."""

import json
import os
import pathlib
import re
import subprocess
import sys

from safetensors.torch import load_file

from support import LOCAL, PIXELBERT, ROOT, check, make_scenes, pixelbert, pretrain, run_tests

BATCH = ["--data.global-batch", 32, "--data.micro-batch", 16, "--train.steps", 4]


def trained(folder):
    run = folder / "run"
    pixelbert(*pretrain(run, make_scenes(folder / "shards"), *BATCH))
    return run


def test_evaluate_gives_the_same_figures_at_any_number_of_ranks(folder):
    run = trained(folder)
    results = []
    for ranks in (1, 2, 3):
        out = folder / f"{ranks}.json"
        pixelbert("evaluate", "--task", "pretrain", "--checkpoint", run, "--data.shards", folder / "shards", "--out", out,
                  "--data.micro-batch", 24, "--train.threads", 1, ranks=ranks)
        results.append(json.loads(out.read_text()))
    check([result["world_size"] for result in results] == [1, 2, 3], results)
    check(results[0]["metrics"] == results[1]["metrics"] == results[2]["metrics"], results)
    check(set(results[0]["metrics"]) == {"mlm_loss", "mlm_accuracy", "itm_loss", "itm_accuracy"}, results[0])
    check(results[0]["samples"] == 96 * 4, results[0])
    pixelbert("evaluate", "--task", "pretrain", "--checkpoint", run, "--data.shards", folder / "shards", "--out",
              folder / "blank.json", "--blank-images", "--data.micro-batch", 24)
    blank = json.loads((folder / "blank.json").read_text())
    check(blank["metrics"]["itm_loss"] != results[0]["metrics"]["itm_loss"], "blank images change the scores")


def test_what_cannot_work_is_refused_before_the_work(folder):
    run, shards = trained(folder), folder / "shards"
    evaluate = ["evaluate", "--checkpoint", run, "--data.shards", shards]
    for command, message in (
            ([*evaluate, "--text.max-tokens", 600], "--text.max-tokens 600 is more than --model.positions 512"),
            ([*evaluate, "--out", folder / "x", "--predictions", f"{folder}/./x"], "--out and --predictions are both"),
            (["shard", "coco", "--captions", "none.json", "--images", folder, "--out", folder / "new", "--part", "5/4"], "--part")):
        output = pixelbert(*command, expect=2)
        check(message in output, output)
    output = pixelbert("shard", "coco", "--captions", "none.json", "--images", folder, "--out", shards, expect=1)
    check("is a finished shard folder already" in output, output)


def test_predict_fills_masks_and_dumps(folder):
    run = trained(folder)
    image = folder / "shards" / "example.jpg"
    check(image.exists(), "scenes bring an example")
    dump = folder / "dump.safetensors"
    output = pixelbert("predict", "--checkpoint", run / "checkpoints" / "latest", "--image", image, "--text",
                       "a [MASK] circle", "--dump", dump)
    check("match 0." in output and "[MASK] at 2:" in output, output)
    tensors = load_file(dump)
    tokens = tensors["input_ids"].numel()
    check(tensors["image"].shape == (3, 64, 64), tensors["image"].shape)
    check(tensors["hidden"].shape == (tokens + 4, 64), tensors["hidden"].shape)  # 64 / 32 squared pixels
    check(tensors["mlm_logits"].shape[0] == tokens, tensors["mlm_logits"].shape)
    check(tensors["itm_logit"].shape == (1,), tensors["itm_logit"].shape)
    check(tensors["attention"].shape == (2, 2, tokens, 4), tensors["attention"].shape)

    pixelbert("predict", "--checkpoint", run, "--image", image, "--text", "a [MASK] circle", "--image.size-multiple", 96, "--dump", dump)
    padded = load_file(dump)
    check(padded["image"].shape == (3, 96, 96), f"as the CNN saw it: {padded['image'].shape}")
    check(not padded["image"][:, 64:].any() and not padded["image"][:, :, 64:].any(), "nothing but zeros as padding")
    check(padded["image"][:, :64, :64].equal(tensors["image"]), "the image in its corner")
    check(padded["hidden"].shape == tensors["hidden"].shape, padded["hidden"].shape)


def test_visualize_draws_an_image_and_a_page(folder):
    run = trained(folder)
    command = ["visualize", "--checkpoint", run, "--image", folder / "shards" / "example.jpg", "--text", "a red circle"]
    pixelbert(*command, "--out", folder / "a.png", "--layer", 2, "--head", 1)
    check((folder / "a.png").read_bytes().startswith(b"\x89PNG"), "a PNG")
    pixelbert(*command, "--out", folder / "a.html")
    maps = json.loads(re.search(r"const maps = (.*?);\n", (folder / "a.html").read_text())[1])
    check(maps["words"] == ["[CLS]", "a", "red", "circle", "[SEP]"], maps["words"])
    check((maps["layers"], maps["heads"], maps["rows"], maps["columns"]) == (2, 2, 2, 2), maps)
    check(len(maps["weights"]) == 2 * 2 * 5 * 4 and 0 < sum(maps["weights"][:4]) <= 10000, maps["weights"][:4])
    for options, message in ((["--out", "a.gif"], ".png or .html"), (["--out", "a.png", "--layer", 3], "--layer must be 0 to 2")):
        output = pixelbert(*command, *options, expect=2)
        check(message in output, output)


def test_curves_are_plotted(folder):
    run = trained(folder)
    for name in ("curves.png", "curves.html"):
        subprocess.run([sys.executable, ROOT / "tools/plot.py", run, "--out", folder / name], check=True)
    check((folder / "curves.png").read_bytes().startswith(b"\x89PNG"), "a PNG")
    page = (folder / "curves.html").read_text()
    check("<svg" in page and page.count('id="axes_') == 6, "a panel per loss and accuracy, norm and speed")
    done = subprocess.run([sys.executable, ROOT / "tools/plot.py", folder, "--out", folder / "x.png"], capture_output=True,
                          text=True)
    check(done.returncode == 1 and "metrics.jsonl" in done.stderr, done)


def test_curves_of_few_and_of_skipped_steps(folder):
    steps = [{"step": step, "samples": 8 * step, "seconds": 1, "gradient_norm": 1,
              "skipped": "not_finite" if step == 3 else ""} for step in range(1, 5)]

    def page_of(count):
        (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps[:count]))
        subprocess.run([sys.executable, ROOT / "tools/plot.py", folder, "--out", folder / "curves.html"], check=True)
        return (folder / "curves.html").read_text()

    check(page_of(1).count('id="axes_') == 1, "a panel for the norm; the first step has no speed")
    page = page_of(4)
    paths = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: #1f77b4', page)
    curves = [re.findall(r"[ML] ([\d.]+) ", path) for path in paths]
    crosses = re.findall(r'<use [^>]* x="([\d.]+)" [^>]*stroke: #1f77b4', page)
    check([len(curve) for curve in curves] == [4, 3], curves)
    check(crosses == [curves[0][2], curves[1][1]], f"a cross at step 3 of each panel, found {crosses} on {curves}")


def test_predict_says_when_it_cuts_a_text(folder):
    run = trained(folder)
    words = ["predict", "--checkpoint", run, "--image", folder / "shards" / "example.jpg", "--text"]
    limit = int(re.search(r"max-tokens = (\d+)", (run / "config.ini").read_text())[1])
    output = pixelbert(*words, "a " * limit + "[MASK]")
    check(f"the text has {limit + 3} tokens with [CLS] and [SEP], of which the model reads {limit}" in output, output)
    check("the text has" not in pixelbert(*words, "a [MASK]"), "nothing is cut")


def test_predict_names_a_bad_image(folder):
    run = trained(folder)
    (folder / "bad.jpg").write_bytes(b"not an image")
    output = pixelbert("predict", "--checkpoint", run, "--image", folder / "bad.jpg", "--text", "x", expect=1)
    check("bad.jpg" in output, output)


def test_inspect_tells_sound_from_damaged(folder):
    run = trained(folder)
    output = pixelbert("inspect", folder / "shards")
    check("96" in output and "sound" in output, output)
    output = pixelbert("inspect", run)
    check("sound" in output, output)
    for victim in (next((folder / "shards").glob("*.h5")), run / "checkpoints" / "latest" / "optimizer.safetensors"):
        content = bytearray(victim.read_bytes())
        content[-20] ^= 1
        victim.write_bytes(content)
        output = pixelbert("inspect", victim.parent, expect=1)
        check(victim.name in output, output)
    (folder / "empty").mkdir()
    output = pixelbert("inspect", folder / "empty", expect=1)
    check("cannot be inspected: expected a shard folder with manifest.json" in output, output)


def test_print_config_can_be_fed_back(folder):
    first = subprocess.run([PIXELBERT, "pretrain", "--model.layers", "5", "--print-config"], capture_output=True, text=True,
                           check=True).stdout
    (folder / "c.ini").write_text(first)
    second = subprocess.run([PIXELBERT, "pretrain", "--config", str(folder / "c.ini"), "--print-config"],
                            capture_output=True, text=True, check=True).stdout
    check(first == second and "layers = 5" in first, second)
    ranks = subprocess.run([LOCAL, "-n", "2", PIXELBERT, "pretrain", "--model.layers", "5", "--print-config"],
                           capture_output=True, text=True, check=True).stdout
    check(ranks == first, f"once, and not by each rank:\n{ranks}")


def test_every_preset_is_understood(folder):
    presets = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.ini"))
    check(presets, "there are presets")
    for preset in presets:
        command = "finetune" if "task = " in preset.read_text() else "pretrain"
        subprocess.run([PIXELBERT, command, "--config", str(preset), "--print-config"], capture_output=True, check=True)


def test_options_of_the_scripts(folder):
    """Before the command, options come in any order and as --name=value; --help prints what is expected."""
    def script(*words, expect, message, **environment):
        done = subprocess.run([ROOT / words[0], *map(str, words[1:])], capture_output=True, text=True, timeout=60, cwd=folder,
                              env={**os.environ, **environment})
        check(done.returncode == expect and message in (done.stderr if expect else done.stdout), f"{words}: {done}")

    for name in ("launch/local.sh", "launch/hosts.sh", "launch/quickstart.sh", "launch/setup.sh", "slurm/chain.sh",
                 "slurm/job.sh", "slurm/stage.sh", "slurm/tell_dependents.sh"):
        script(name, "--help", expect=0, message=pathlib.Path(name).name)
    (folder / "hosts").write_text("localhost slots=2\n")
    for words in (["launch/local.sh", "-n", 1], ["launch/local.sh", "-n1"],
                  ["launch/hosts.sh", "-n", 1, "--hostfile", folder / "hosts"],
                  ["launch/hosts.sh", f"--hostfile={folder}/hosts", "--per-host=1"]):
        script(*words, "echo", "--help", expect=0, message="--help")  # after the program, all words belong to it
    script("launch/local.sh", "-n", expect=2, message="expected -n N program arguments…, found: -n")
    script("launch/local.sh", "--ranks", 2, "echo", expect=2, message="found: --ranks 2 echo")
    script("launch/hosts.sh", f"--hostfile={folder}/hosts", "-n=0", "echo", expect=2, message="-n: found '0'")
    script("launch/quickstart.sh", "--steps=4", "--dir=", expect=2, message="--dir has no value")
    script("slurm/chain.sh", "--nodes=2", expect=2, message="no folder for the runs")
    script("slurm/chain.sh", "--nodes=2", "runs", expect=2, message="no --pretrain")
    script("slurm/chain.sh", "runs", "--pretrain", "--pretrain", expect=2, message="--pretrain twice", PIXELBERT="/bin/true")
    script("slurm/stage.sh", "a", "b", expect=2, message="expected PROGRAM FOLDER COPY, found: a b")


def test_help_and_version(folder):
    environment = {**os.environ}
    for words in (["--help"], ["pretrain", "--help"], ["finetune", "--help"], ["evaluate", "--help"], ["predict", "--help"], ["visualize", "--help"],
                  ["import", "--help"], ["export", "--help"], ["inspect", "--help"],
                  ["plan", "--help"], ["doctor", "--help"], ["diagnose", "--help"],
                  ["shard", "--help"], ["shard", "scenes", "--help"], ["shard", "coco", "--help"], ["--version"]):
        done = subprocess.run([PIXELBERT, *words], capture_output=True, text=True, env=environment)
        check(done.returncode == 0 and len(done.stdout) > 40, f"{words}: {done}")
    done = subprocess.run([PIXELBERT, "--version"], capture_output=True, text=True)
    for part in ("LibTorch 2.", "Open MPI", "HDF5 1.", "CUDA"):
        check(part in done.stdout, done.stdout)
    for words, message in ((["pretrian"], "did you mean 'pretrain'"), (["shard", "scene"], "did you mean 'scenes'"), ([], "no command")):
        done = subprocess.run([PIXELBERT, *words], capture_output=True, text=True)
        check(done.returncode == 2 and message in done.stderr, f"{words}: {done}")


run_tests(sys.modules[__name__])
