"""The whole chain on scenes: pre-train, fine-tune, evaluate, predict, for each task."""

import csv
import json
import sys

import numpy
import torch
from safetensors.torch import load_file

from support import SMALL, check, check_same_weights, finish, losses, metrics, pixelbert, pretrain, run_tests, start, \
    wait_for, weights

BATCH = ["--data.global-batch", 32, "--data.micro-batch", 16]
# The options of the model in SMALL come from --init.
TRAIN = ["--train.device", "cpu", "--train.threads", 1, "--data.threads", 1, "--checkpoint.every-steps", 0,
         "--optim.warmup-steps", 5, "--retrieval.negatives", 8]


def scenes(folder, task, count=96, seed=1):
    out = folder / f"{task}-{seed}"
    if not out.exists():
        pixelbert("shard", "scenes", "--task", task, "--out", out, "--count", count, "--seed", seed, "--size", 64)
    return out


def pretrained(folder):
    run = folder / "pretrained"
    if not run.exists():
        pixelbert(*pretrain(run, scenes(folder, "pairs"), *BATCH, "--train.steps", 4))
    return run


def data_for(folder, task, seed=1):
    return scenes(folder, "pairs" if task == "retrieval" else task, seed=seed)


def finetune(folder, task, run, *options):
    return ["finetune", "--task", task, "--init", pretrained(folder), "--data.shards", data_for(folder, task),
            "--run.dir", run, *BATCH, *TRAIN, *options]


def evaluate(checkpoint, shards, out, *options, ranks=1, expect=0):
    output = pixelbert("evaluate", "--checkpoint", checkpoint, "--data.shards", shards, "--out", out, "--train.threads", 1,
                       "--data.micro-batch", 24, *options, ranks=ranks, expect=expect)
    return json.loads(out.read_text()) if expect == 0 else output


def check_chain(folder, task, names):
    """One and two ranks train the same bits, also if stopped between; 1, 2 and 4 evaluate to the same scores."""
    one, two = folder / "one", folder / "two"
    pixelbert(*finetune(folder, task, one, "--train.steps", 8))
    process = start(*finetune(folder, task, two, "--train.steps", 8), ranks=2)
    wait_for(lambda: (two / "metrics.jsonl").exists() and len(metrics(two)) >= 2, "2 steps", 120)
    (two / "stop").touch()
    process.wait()
    finish(process, expect=75 if len(metrics(two)) < 8 else 0)
    pixelbert(*finetune(folder, task, two, "--train.steps", 8), ranks=2)
    check(len(losses(one)) == 8 and losses(one) == losses(two), f"losses {losses(one)} and {losses(two)}")
    check_same_weights(one, two, f"{task} on 1 and 2 ranks")
    check(f"{task}_loss" in metrics(one)[0] and f"{task}_accuracy" in metrics(one)[0], metrics(one)[0])

    prefixes = {name.split(".")[0] for name in weights(one)}
    check(prefixes == {"backbone", "visual", "bert", task}, prefixes)
    results = [evaluate(one, data_for(folder, task, seed=2), folder / f"{n}.json", "--predictions", folder / f"{n}.out",
                        ranks=n) for n in (1, 2, 4)]
    check(results[0]["metrics"] == results[1]["metrics"] == results[2]["metrics"], results)
    check(set(results[0]["metrics"]) == names, results[0]["metrics"])
    check(all(0 <= value <= 1 for value in results[0]["metrics"].values()), results[0]["metrics"])
    outputs = {(folder / f"{n}.out").read_bytes() for n in (1, 2, 4)}
    check(len(outputs) == 1, "predictions differ between 1, 2 and 4 ranks")
    identity = results[0]["checkpoint_identity"]
    check(identity["step"] == 8 and identity["task"] == task, identity)
    check(identity["initial"]["data"][0].startswith("scenes"), identity)
    return one, results[0]


def test_vqa(folder):
    run, result = check_chain(folder, "vqa", {"vqa_score", "vqa_score_yes_no", "vqa_score_other"})
    answers = json.loads((folder / "1.out").read_text())
    check(len(answers) == result["samples"] and set(answers[0]) == {"question_id", "answer"}, answers[:2])
    known = (folder / "vqa-1/answers.txt").read_text().splitlines()
    check({entry["answer"] for entry in answers} <= set(known), "answers come from the vocabulary")

    output = pixelbert("predict", "--checkpoint", run, "--image", folder / "vqa-1/example.jpg", "--text",
                       "what color is the circle ?", "--text", "is there a star ?")
    check(output.count("answer ") == 2 and "is there a star ?" in output, output)
    dump = folder / "dump.safetensors"
    pixelbert("predict", "--checkpoint", run, "--image", folder / "vqa-1/example.jpg", "--text", "what ?", "--dump", dump)
    check(load_file(dump)["vqa_logits"].shape == (len(known),), "one logit per answer")


def test_nlvr2(folder):
    run, result = check_chain(folder, "nlvr2", {"accuracy", "consistency"})
    rows = list(csv.reader((folder / "1.out").read_text().splitlines()))
    check(len(rows) == result["samples"] and all(row[1] in ("True", "False") for row in rows), rows[:2])
    image = folder / "nlvr2-1/example.jpg"
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
    lines = (folder / "pairs-2/example.txt").read_text().splitlines()
    output = pixelbert("predict", "--checkpoint", run, "--image", folder / "pairs-2/example.jpg",
                       *[word for line in lines for word in ("--text", line)])
    predicted = [float(line.split()[1]) for line in output.splitlines() if line.startswith("score ")]
    check(torch.allclose(torch.tensor(predicted), tensors["scores"][0, :len(lines)], atol=2e-4), (predicted, tensors["scores"][0, :4]))

    # A pre-training checkpoint scores by image-text matching, and that is where fine-tuning begins.
    evaluate(pretrained(folder), scenes(folder, "pairs", seed=2), folder / "zero.json", "--task", "retrieval")
    one_step = folder / "one-step"
    pixelbert(*finetune(folder, "retrieval", one_step, "--train.steps", 1, "--optim.transformer-rate", "1e-12",
                        "--optim.backbone-rate", "1e-12"))
    check(torch.allclose(weights(one_step)["retrieval.weight"], weights(pretrained(folder))["itm.weight"]),
          "the score begins as image-text matching's")


def test_pretraining_on_one_objective(folder):
    for objective, head in (("mlm", "cls"), ("itm", "itm")):
        run = folder / objective
        pixelbert(*pretrain(run, scenes(folder, "pairs"), *BATCH, "--train.steps", 3, "--train.objectives", objective))
        check({name.split(".")[0] for name in weights(run)} == {"backbone", "visual", "bert", head}, "one head")
        result = evaluate(run, scenes(folder, "pairs", seed=2), folder / f"{objective}.json")
        check(set(result["metrics"]) == {f"{objective}_loss", f"{objective}_accuracy"}, result)


def test_without_pretraining_and_with_another_configuration(folder):
    command = finetune(folder, "vqa", folder / "scratch", "--train.steps", 2, *SMALL)
    command[command.index("--init") + 1] = "none"
    pixelbert(*command)
    # The checkpoint's model options are the defaults; a wrong option is an error that names the tensor.
    output = pixelbert(*finetune(folder, "vqa", folder / "wide", "--train.steps", 2, "--model.hidden", 32), expect=1)
    check("is [64], this model needs [32]" in output, output)


def test_configuration_of_a_run_repeats_it(folder):
    first, again = folder / "first", folder / "again"
    pixelbert(*finetune(folder, "nlvr2", first, "--train.steps", 2))
    pixelbert("finetune", "--config", first / "config.ini", "--run.dir", again)
    check(losses(first) == losses(again), f"losses {losses(first)} and {losses(again)}")


def test_wrong_inputs_say_what_to_do(folder):
    run = folder / "run"
    pixelbert(*finetune(folder, "vqa", run, "--train.steps", 1))
    words = folder / "words.txt"
    words.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\n")
    other = folder / "other-answers"
    pixelbert("shard", "scenes", "--task", "vqa", "--count", 8, "--seed", 3, "--size", 64, "--out", other)
    (other / "answers.txt").write_text("yes\nno\n")
    manifest = json.loads((other / "manifest.json").read_text())
    del manifest["other_files"]["answers.txt"]  # its checksum
    (other / "manifest.json").write_text(json.dumps(manifest))
    vqa, nlvr2 = data_for(folder, "vqa"), data_for(folder, "nlvr2")
    for command, message in [
            (["evaluate", "--checkpoint", run, "--data.shards", nlvr2], "holds nlvr2 shards, vqa needs vqa ones"),
            (["evaluate", "--checkpoint", run, "--task", "nlvr2", "--data.shards", nlvr2], "was trained for vqa, not for nlvr2"),
            (["evaluate", "--checkpoint", run, "--data.shards", other], "--answers"),
            (["evaluate", "--checkpoint", run, "--data.shards", vqa, "--text.vocab", words], "6 tokens"),
            (["evaluate", "--checkpoint", run, "--task", "vqaa", "--data.shards", vqa], "found 'vqaa'"),
            (finetune(folder, "vqa", folder / "x", "--data.shards", other), "has other answers than"),
            (finetune(folder, "vqa", folder / "x", "--text.vocab", words), "6 tokens"),
            (finetune(folder, "nlvr2", folder / "x", "--data.shards", vqa), "holds vqa shards"),
            (["finetune", "--task", "vqa", "--data.shards", vqa, "--run.dir", folder / "x"], "--init is missing"),
            (["finetune", "--task", "caption", "--init", run], "found 'caption'"),
            (finetune(folder, "nlvr2", run), "it was trained with --task 'vqa', now it is 'nlvr2'")]:
        output = pixelbert(*command, ranks=2, expect=2)
        check(output.count(message) == 1, f"'{message}' once:\n{output}")
    check(not (folder / "x").exists(), "nothing was made")

    # A missing image, although the scores need all of them.
    victim = next(vqa.glob("*.h5"))
    content = bytearray(victim.read_bytes())
    content[content.index(b"\xff\xd8\xff") + 300] ^= 1
    victim.write_bytes(content)
    output = pixelbert("evaluate", "--checkpoint", run, "--data.shards", vqa, expect=1)
    check("cannot be read" in output and "inspect" in output, output)


run_tests(sys.modules[__name__])
