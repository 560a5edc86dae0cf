"""The whole chain on scenes: pre-train, fine-tune, evaluate, predict, for each task."""

import csv
import functools
import json
import pathlib
import re
import shutil
import sys

import h5py
import numpy
import torch
from safetensors.torch import load_file

from support import (SMALL, check, check_same_weights, finish, losses, metrics, pixelbert, pretrain, run_tests, start,
                     temporary_folder, wait_for, weights)

COMMON = temporary_folder()  # for all tests
BATCH = ["--data.global-batch", 32, "--data.micro-batch", 16]
# The options of the model in SMALL come from --init.
TRAIN = ["--train.device", "cpu", "--train.threads", 1, "--data.threads", 1, "--checkpoint.every-steps", 0,
         "--optim.warmup-steps", 5]
OF_TASK = {"retrieval": ["--retrieval.negatives", 8]}


def make_scenes(out, task, count, seed):
    pixelbert("shard", "scenes", "--task", task, "--out", out, "--count", count, "--seed", seed, "--size", 64)
    return out


@functools.cache
def scenes(task):
    return make_scenes(pathlib.Path(COMMON.name) / f"{task}-1", task, count=96, seed=1)


@functools.cache
def pretrained():
    run = pathlib.Path(COMMON.name) / "pretrained"
    pixelbert(*pretrain(run, scenes("pairs"), *BATCH, "--train.steps", 4))
    return run


def kind_of(task):
    return "pairs" if task == "retrieval" else task


@functools.cache
def held_out(task):
    """Scenes to evaluate on, with what scenes lack: sentences about two pairs, and answers whose accuracy is not their score."""
    shards = make_scenes(pathlib.Path(COMMON.name) / f"{task}-2", task, count=96, seed=2)
    manifest = json.loads((shards / "manifest.json").read_text())
    for entry in manifest["files"]:
        with h5py.File(shards / entry["name"], "r+") as shard:
            if task == "nlvr2":
                shard["texts/group"][:] &= ~1
            if task == "vqa":
                shard["answers/accuracy"] = numpy.arange(len(shard["answers/score"]), dtype=numpy.float32) % 11 / 10
        entry["bytes"] = (shards / entry["name"]).stat().st_size
        entry.pop("columns", None)  # their checksums
    (shards / "manifest.json").write_text(json.dumps(manifest))
    return shards


def texts_of(shards):
    """Reads each text with its images and answers, in order, as data_shards/README.md describes them."""
    texts = []
    for entry in json.loads((shards / "manifest.json").read_text())["files"]:
        with h5py.File(shards / entry["name"]) as shard:
            columns = {name: shard[name][:] for group in shard for name in (f"{group}/{column}" for column in shard[group])}

        def record(group, row, columns=columns):
            begin, length = columns[f"{group}/offset"][row], columns[f"{group}/length"][row]
            return columns[f"{group}/bytes"][begin:begin + length].tobytes()

        accuracy = columns.get("answers/accuracy", columns["answers/score"])
        for row in range(entry["texts"]):
            answers = range(*columns["answers/first"][row:row + 2])
            texts.append({
                "id": columns["texts/id"][row].item(),
                "text": record("texts", row).decode(),
                "images": [record("images", columns[f"texts/{which}"][row]) for which in ("image", "second_image")
                           if f"texts/{which}" in columns],
                "group": columns["texts/group"][row].item(),
                "accuracy": {columns["answers/index"][i].item(): accuracy[i].item() for i in answers}})
    return texts


def finetune(task, run, *options):
    return ["finetune", "--task", task, "--init", pretrained(), "--data.shards", scenes(kind_of(task)), "--run.dir", run, *BATCH,
            *TRAIN, *OF_TASK.get(task, []), *options]


def evaluate(checkpoint, shards, out, *options, ranks=1, expect=0):
    output = pixelbert("evaluate", "--checkpoint", checkpoint, "--data.shards", shards, "--out", out, "--train.threads", 1,
                       "--data.micro-batch", 24, *options, ranks=ranks, expect=expect)
    return json.loads(out.read_text()) if expect == 0 else output


def check_chain(folder, task, names):
    """One and two ranks train the same bits, also if stopped between; 1, 2 and 4 evaluate to the same scores."""
    one, two = folder / "one", folder / "two"
    pixelbert(*finetune(task, one, "--train.steps", 8))
    process = start(*finetune(task, two, "--train.steps", 8), ranks=2, faults="sleep-reduce@*")  # or it is through too soon
    wait_for(lambda: (two / "metrics.jsonl").exists() and len(metrics(two)) >= 2, "2 steps", 120)
    (two / "stop").touch()
    finish(process, expect=75)
    check("resuming from" in pixelbert(*finetune(task, two, "--train.steps", 8), ranks=2), "says that it resumes")
    check(len(losses(one)) == 8 and losses(one) == losses(two), f"losses {losses(one)} and {losses(two)}")
    check_same_weights(one, two, f"{task} on 1 and 2 ranks")
    check(f"{task}_loss" in metrics(one)[0] and f"{task}_accuracy" in metrics(one)[0], metrics(one)[0])

    prefixes = {name.split(".")[0] for name in weights(one)}
    check(prefixes == {"backbone", "visual", "bert", task}, prefixes)
    shards = held_out(kind_of(task))
    results = [evaluate(one, shards, folder / f"{n}.json", "--predictions", folder / f"{n}.out", ranks=n) for n in (1, 2, 4)]
    check(results[0]["metrics"] == results[1]["metrics"] == results[2]["metrics"], results)
    check(set(results[0]["metrics"]) == names, results[0]["metrics"])
    check(all(0 <= value <= 1 for value in results[0]["metrics"].values()), results[0]["metrics"])
    outputs = {(folder / f"{n}.out").read_bytes() for n in (1, 2, 4)}
    check(len(outputs) == 1, "predictions differ between 1, 2 and 4 ranks")
    identity = results[0]["checkpoint_identity"]
    check(identity["step"] == 8 and identity["task"] == task, identity)
    check(identity["initial"]["data"][0].startswith("scenes"), identity)
    return one, results[0]


def check_predictions(folder, run, result, texts, ids, classes, expected):
    """The class of each text in the file of predictions leads to the scores, and is the one of the greatest logit."""
    check(result["samples"] == len(texts) and ids == [text["id"] for text in texts], f"the ids of all texts, found {ids[:3]} …")
    found = result["metrics"]
    check(found.keys() == expected.keys() and all(abs(found[name] - expected[name]) < 1e-6 for name in found),
          f"scores {found}, by the predictions {expected}")
    task = result["checkpoint_identity"]["task"]
    for at in (0, len(texts) // 2, len(texts) - 1):
        images = [folder / f"{at}-{side}.jpg" for side in range(len(texts[at]["images"]))]
        for path, content in zip(images, texts[at]["images"], strict=True):
            path.write_bytes(content)
        dump = folder / "dump.safetensors"
        pixelbert("predict", "--checkpoint", run, *[word for path in images for word in ("--image", path)],
                  "--text", texts[at]["text"], "--dump", dump)
        logits = load_file(dump)[f"{task}_logits"]
        check(classes[at] == logits.argmax().item(), f"text {at}: predicted class {classes[at]}, logits {logits}")


def test_vqa(folder):
    run, result = check_chain(folder, "vqa", {"vqa_score", "vqa_score_yes_no", "vqa_score_other"})
    answers = json.loads((folder / "1.out").read_text())
    check(set(answers[0]) == {"question_id", "answer"}, answers[:2])
    known = (scenes("vqa") / "answers.txt").read_text().splitlines()
    classes = [known.index(entry["answer"]) for entry in answers]

    texts = texts_of(held_out("vqa"))
    types = json.loads((held_out("vqa") / "manifest.json").read_text())["options"]["answer-types"].split(",")
    scores = {}
    for text, chosen in zip(texts, classes, strict=True):
        for name in ("vqa_score", "vqa_score_" + re.sub(r"\W", "_", types[text["group"]])):
            scores.setdefault(name, []).append(text["accuracy"].get(chosen, 0))
    check_predictions(folder, run, result, texts, [entry["question_id"] for entry in answers], classes,
                      {name: numpy.mean(values).item() for name, values in scores.items()})

    # A test set that was made without --answers has neither answers nor their vocabulary.
    unknown = shutil.copytree(held_out("vqa"), folder / "unknown")
    manifest = json.loads((unknown / "manifest.json").read_text())
    for entry in manifest["files"]:
        with h5py.File(unknown / entry["name"], "r+") as shard:
            shard["texts/group"][:] = -1
    (unknown / "answers.txt").unlink()
    del manifest["other_files"]["answers.txt"]
    (unknown / "manifest.json").write_text(json.dumps(manifest))
    result = evaluate(run, unknown, folder / "unknown.json", "--predictions", folder / "unknown.out")
    check(json.loads((folder / "unknown.out").read_text()) == answers and not result["metrics"], f"the same answers, no scores: {result}")

    output = pixelbert("predict", "--checkpoint", run, "--image", scenes("vqa") / "example.jpg", "--text",
                       "what color is the circle ?", "--text", "is there a star ?")
    check(output.count("answer ") == 2 and "is there a star ?" in output, output)
    dump = folder / "dump.safetensors"
    pixelbert("predict", "--checkpoint", run, "--image", scenes("vqa") / "example.jpg", "--text", "what ?", "--dump", dump)
    check(load_file(dump)["vqa_logits"].shape == (len(known),), "one logit per answer")


def test_nlvr2(folder):
    run, result = check_chain(folder, "nlvr2", {"accuracy", "consistency"})
    rows = list(csv.reader((folder / "1.out").read_text().splitlines()))
    classes = [("False", "True").index(row[1]) for row in rows]
    texts, sentences = texts_of(held_out("nlvr2")), {}
    for text, chosen in zip(texts, classes, strict=True):
        sentences.setdefault(text["group"], []).append(chosen in text["accuracy"])
    right = [judged for sentence in sentences.values() for judged in sentence]
    check(len(sentences) < len(right), "some sentences are about several pairs")
    check_predictions(folder, run, result, texts, [int(row[0]) for row in rows], classes,
                      {"accuracy": numpy.mean(right).item(),
                       "consistency": numpy.mean([all(each) for each in sentences.values()]).item()})

    image = scenes("nlvr2") / "example.jpg"
    output = pixelbert("predict", "--checkpoint", run, "--image", image, "--image", image, "--text", "both are red .")
    check("true 0." in output or "false 0." in output, output)
    output = pixelbert("predict", "--checkpoint", run, "--image", image, "--text", "x", expect=2)
    check("twice" in output, output)


def recalls_by_numpy(scores, image_of_text):
    """Computes the same scores another way: ranks from a full sort."""
    found = {}
    order = numpy.argsort(-scores, axis=1, kind="stable")
    own = image_of_text[order] == numpy.arange(len(scores))[:, None]
    by_text = numpy.argsort(-scores, axis=0, kind="stable")
    for k in (1, 5, 10):
        found[f"tr_r{k}"] = own[:, :k].any(axis=1).mean()
        found[f"ir_r{k}"] = (by_text[:k] == image_of_text).any(axis=0).mean()
    return found


def test_retrieval(folder):
    names = {f"{direction}_r{k}" for direction in ("tr", "ir") for k in (1, 5, 10)}
    run, result = check_chain(folder, "retrieval", names)
    tensors = load_file(folder / "1.out")
    expected = recalls_by_numpy(tensors["scores"].numpy(), tensors["image_of_text"].numpy())
    check(all(abs(result["metrics"][name] - value) < 1e-12 for name, value in expected.items()), (result, expected))

    # The score of a pair equals predict's, up to the rounding of another batch.
    lines = (held_out("pairs") / "example.txt").read_text().splitlines()
    output = pixelbert("predict", "--checkpoint", run, "--image", held_out("pairs") / "example.jpg",
                       *[word for line in lines for word in ("--text", line)])
    predicted = [float(line.split()[1]) for line in output.splitlines() if line.startswith("score ")]
    check(torch.allclose(torch.tensor(predicted), tensors["scores"][0, :len(lines)], atol=2e-4), (predicted, tensors["scores"][0, :4]))

    # A pre-training checkpoint scores by image-text matching, and that is where fine-tuning begins.
    evaluate(pretrained(), held_out("pairs"), folder / "zero.json", "--task", "retrieval")
    one_step = folder / "one-step"
    pixelbert(*finetune("retrieval", one_step, "--train.steps", 1, "--optim.transformer-rate", "1e-12",
                        "--optim.backbone-rate", "1e-12"))
    check(torch.allclose(weights(one_step)["retrieval.weight"], weights(pretrained())["itm.weight"]),
          "the score begins as image-text matching's")


def test_pretraining_on_one_objective(folder):
    for objective, head in (("mlm", "cls"), ("itm", "itm")):
        run = folder / objective
        pixelbert(*pretrain(run, scenes("pairs"), *BATCH, "--train.steps", 3, "--train.objectives", objective))
        check({name.split(".")[0] for name in weights(run)} == {"backbone", "visual", "bert", head}, "one head")
        result = evaluate(run, held_out("pairs"), folder / f"{objective}.json")
        check(set(result["metrics"]) == {f"{objective}_loss", f"{objective}_accuracy"}, result)


def test_without_pretraining_and_with_another_configuration(folder):
    command = finetune("vqa", folder / "scratch", "--train.steps", 2, *SMALL)
    command[command.index("--init") + 1] = "none"
    pixelbert(*command)
    # The checkpoint's model options are the defaults; a wrong option is an error that names the tensor.
    output = pixelbert(*finetune("vqa", folder / "wide", "--train.steps", 2, "--model.hidden", 32), expect=1)
    check("is [64], this model needs [32]" in output, output)


def test_configuration_of_a_run_repeats_it(folder):
    first, again = folder / "first", folder / "again"
    pixelbert(*finetune("nlvr2", first, "--train.steps", 2))
    pixelbert("finetune", "--config", first / "config.ini", "--run.dir", again)
    check(losses(first) == losses(again), f"losses {losses(first)} and {losses(again)}")


def test_wrong_inputs_say_what_to_do(folder):
    run = folder / "run"
    pixelbert(*finetune("vqa", run, "--train.steps", 1))
    words = folder / "words.txt"
    words.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\n")
    other = make_scenes(folder / "other-answers", "vqa", count=8, seed=3)
    (other / "answers.txt").write_text("yes\nno\n")
    manifest = json.loads((other / "manifest.json").read_text())
    del manifest["other_files"]["answers.txt"]  # its checksum
    (other / "manifest.json").write_text(json.dumps(manifest))
    vqa, nlvr2 = scenes("vqa"), scenes("nlvr2")
    for ranks, command, message in [
            (1, ["evaluate", "--checkpoint", run, "--data.shards", nlvr2], "holds nlvr2 shards, vqa needs vqa ones"),
            (1, ["evaluate", "--checkpoint", run, "--task", "nlvr2", "--data.shards", nlvr2], "was trained for vqa, not for nlvr2"),
            (2, ["evaluate", "--checkpoint", run, "--data.shards", other], "--answers"),
            (1, ["evaluate", "--checkpoint", run, "--data.shards", vqa, "--text.vocab", words], "6 tokens"),
            (1, ["evaluate", "--checkpoint", run, "--task", "vqaa", "--data.shards", vqa], "found 'vqaa'"),
            (1, finetune("vqa", folder / "x", "--data.shards", other), "has other answers than"),
            (1, finetune("vqa", folder / "x", "--text.vocab", words), "6 tokens"),
            (1, finetune("nlvr2", folder / "x", "--data.shards", vqa), "holds vqa shards"),
            (1, ["finetune", "--task", "vqa", "--data.shards", vqa, "--run.dir", folder / "x"], "--init is missing"),
            (1, ["finetune", "--task", "caption", "--init", run], "found 'caption'"),
            (2, finetune("nlvr2", run), "it was trained with --task 'vqa', now it is 'nlvr2'")]:
        output = pixelbert(*command, ranks=ranks, expect=2)
        check(output.count(message) == 1, f"'{message}' once:\n{output}")
    check(not (folder / "x").exists(), "nothing was made")

    # A missing image, although the scores need all of them.
    damaged = shutil.copytree(vqa, folder / "damaged")
    victim = next(damaged.glob("*.h5"))
    content = bytearray(victim.read_bytes())
    content[content.index(b"\xff\xd8\xff") + 300] ^= 1
    victim.write_bytes(content)
    output = pixelbert("evaluate", "--checkpoint", run, "--data.shards", damaged, expect=1)
    check("cannot be read" in output and "inspect" in output, output)


run_tests(sys.modules[__name__])
