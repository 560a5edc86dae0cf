"""import and export as a user calls them: imports published weights, exports one file for Python, and reads that file."""

import json
import sys

import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

from references import check_opens_in_python
from support import check, make_scenes, pixelbert, pretrain, run_tests, weights

LAYERS, HIDDEN, HEADS = 2, 64, 2


def published(folder, shards, hidden=HIDDEN):
    """A ResNet-18 and a BERT with random weights, for the vocabulary of the scenes."""
    torch.manual_seed(1)
    vocabulary = shards / "vocab.txt"
    tokens = len(vocabulary.read_text().splitlines())
    save_file(torchvision.models.resnet18().state_dict(), folder / "resnet18.safetensors")
    bert = BertForMaskedLM(BertConfig(vocab_size=tokens, hidden_size=hidden, num_hidden_layers=LAYERS,
                                      num_attention_heads=HEADS, intermediate_size=4 * hidden))
    bert.save_pretrained(folder, safe_serialization=True)
    (folder / "model.safetensors").rename(folder / "bert.safetensors")
    return ["--backbone", folder / "resnet18.safetensors", "--bert", folder / "bert.safetensors",
            "--text.vocab", vocabulary]


def predictions(path, folder):
    """Returns predict's output for one image: the model, its options and its vocabulary must arrive unchanged."""
    dump = folder / "dump.safetensors"
    said = pixelbert("predict", "--checkpoint", path, "--image", folder / "shards/example.jpg",
                     "--text", "a [MASK] circle", "--dump", dump)
    return load_file(dump), [line for line in said.splitlines() if "match" in line or "[MASK] at" in line]


def check_same_predictions(one, other, folder):
    (first, said), (second, said_too) = predictions(one, folder), predictions(other, folder)
    check(first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first),
          f"{one} and {other} predict the same")
    check(said == said_too, (said, said_too))


def test_imported_weights_are_a_checkpoint(folder):
    shards = make_scenes(folder / "shards")
    imported, exported = folder / "imported", folder / "exported.safetensors"
    said = pixelbert("import", *published(folder, shards), "--model.visual-order", "conv", "--image.short-side", 64,
                     "--image.long-side", 64, "--out", imported)  # the number of heads is in config.json
    check("resnet18 and 2 layers of 64 with 2 heads" in said, said)
    check("left out fc.bias, fc.weight" in said, said)
    check("random to begin with: itm.*, visual.conv.bias, visual.conv.weight\n" in said, said)

    trainer = json.loads((imported / "trainer.json").read_text())
    check(trainer["step"] == 0 and trainer["config"]["model.visual-order"] == "conv", trainer)
    check([part["file"] for part in trainer["imported"]] == ["resnet18.safetensors", "bert.safetensors"], trainer)
    check(all(part["crc32c"] > 0 for part in trainer["imported"]), trainer)
    check(trainer["imported"][0]["left_out"] == ["fc.bias", "fc.weight"], trainer)

    ours, theirs = load_file(imported / "model.safetensors"), load_file(folder / "bert.safetensors")
    resnet = load_file(folder / "resnet18.safetensors")
    check(torch.equal(ours["backbone.layer4.1.conv2.weight"], resnet["layer4.1.conv2.weight"]), "the CNN's weights")
    types = theirs["bert.embeddings.token_type_embeddings.weight"]
    check(torch.equal(ours["bert.embeddings.position_embeddings.weight"],
                      theirs["bert.embeddings.position_embeddings.weight"] + types[0]), "the first type is folded in")
    check(torch.equal(ours["visual.semantic_embedding"], types[1]), "the second type is the pixels'")

    pixelbert("export", "--checkpoint", imported, "--out", exported)
    check_same_predictions(imported, exported, folder)
    check_opens_in_python(load_file(exported), LAYERS, HIDDEN, HEADS)
    for path in (imported, exported):
        output = pixelbert("inspect", path)
        check("step          0, format 1" in output and "sound" in output, output)
        pixelbert("evaluate", "--checkpoint", path, "--data.shards", shards, ranks=2)


def test_training_starts_from_imported_and_exported_weights(folder):
    shards, imported = make_scenes(folder / "shards"), folder / "imported"
    pixelbert("import", *published(folder, shards), "--model.heads", HEADS, "--model.visual-order", "conv",
              "--image.short-side", 64, "--image.long-side", 64, "--out", imported)
    options = ["--data.shards", shards, "--data.global-batch", 32, "--data.micro-batch", 16, "--train.threads", 1,
               "--train.steps", 1, "--optim.backbone-rate", "1e-12", "--optim.transformer-rate", "1e-12"]
    run, exported, fine = folder / "run", folder / "exported.safetensors", folder / "fine"
    said = pixelbert("pretrain", "--init", imported, "--run.dir", run, *options, ranks=2)
    check("resnet18 and 2 layers of 64" in said, said)
    before, after = load_file(imported / "model.safetensors"), weights(run)
    check(before.keys() == after.keys(), "the same names")
    check(all(torch.allclose(before[name], after[name], atol=1e-6) for name in before
              if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))), "a step of next to nothing")

    pixelbert("export", "--checkpoint", run, "--out", exported)
    pixelbert("finetune", "--task", "retrieval", "--init", exported, "--run.dir", fine, "--retrieval.negatives", 5, *options)
    trainer = json.loads((fine / "checkpoints/latest/trainer.json").read_text())
    origin = trainer["initial"]["initial"]["imported"]
    check([part["file"] for part in origin] == ["resnet18.safetensors", "bert.safetensors"], trainer["initial"])
    check(torch.allclose(weights(fine)["backbone.conv1.weight"], before["backbone.conv1.weight"], atol=1e-6), "the CNN's")


def test_a_trained_checkpoint_goes_into_one_file(folder):
    run, exported = folder / "run", folder / "exported.safetensors"
    command = pretrain(run, make_scenes(folder / "shards"), "--data.global-batch", 32, "--data.micro-batch", 16,
                       "--train.steps", 3)
    pixelbert(*command)
    pixelbert("export", "--checkpoint", run, "--out", exported)
    trained = weights(run)
    check(all(torch.equal(tensor, trained[name]) for name, tensor in load_file(exported).items()), "weights")
    with safe_open(exported, "pt") as file:
        metadata = file.metadata()
    step_folder = run / "checkpoints" / "latest"
    check(json.loads(metadata["trainer.json"]) == json.loads((step_folder / "trainer.json").read_text()), metadata)
    check(metadata["vocab.txt"] == (step_folder / "vocab.txt").read_text(), "vocabulary")
    check_same_predictions(run, exported, folder)
    check_opens_in_python(load_file(exported), LAYERS, HIDDEN, HEADS)
    check(not list(folder.glob("*.tmp")), "nothing is left aside")


def test_damage_is_found(folder):
    shards, exported = make_scenes(folder / "shards"), folder / "exported.safetensors"
    pixelbert("import", *published(folder, shards), "--model.heads", HEADS, "--out", folder / "imported")
    pixelbert("export", "--checkpoint", folder / "imported", "--out", exported)
    for victim in (exported, folder / "imported" / "model.safetensors"):
        content = bytearray(victim.read_bytes())
        content[-20] ^= 1
        victim.write_bytes(content)
        path = victim if victim == exported else victim.parent
        for command in (["inspect", path], ["export", "--checkpoint", path, "--out", folder / "again.safetensors"]):
            output = pixelbert(*command, expect=1)
            check("checksum" in output and "model.safetensors" in output, output)
    output = pixelbert("inspect", folder / "bert.safetensors", expect=1)
    check("holds only weights, not a checkpoint" in output, output)


def test_weights_that_cannot_be_meant_are_named(folder):
    files = published(folder, make_scenes(folder / "shards"))
    bert = {name: tensor.clone() for name, tensor in load_file(files[3]).items()}  # the file will be overwritten

    def refused(tensors, message, command=("import", *files, "--out", folder / "out")):
        save_file(tensors, files[3])
        output = pixelbert(*command, expect=1)
        check(message in output and "frame #" not in output, output)
        check(not (folder / "out").exists(), "a failed import leaves nothing")

    norm = "bert.embeddings.LayerNorm"
    for value in (float("nan"), float("inf")):
        broken = bert[f"{norm}.weight"].clone()
        broken[3] = value
        refused(bert | {f"{norm}.weight": broken}, f"bert.safetensors: '{norm}.weight' holds values that are not finite")
    refused(bert | {f"{norm}.gamma": torch.ones(HIDDEN)}, f"holds both '{norm}.gamma' and '{norm}.weight'")
    save_file(bert, files[3])
    for content, message in ((b"{", "is not JSON: line 1"), (b"[]", "is not a JSON object"),
                             (b'{"num_attention_heads": "2"}', "'num_attention_heads' is \"2\", expected a whole number"),
                             (b'{"num_attention_heads": 0}', "'num_attention_heads' is 0"),
                             (b"[" * 100_000, "levels deep")):
        (folder / "config.json").write_bytes(content)
        refused(bert, f"{folder}/config.json")
        refused(bert, message)
    (folder / "config.json").write_bytes(b"\xef\xbb\xbf" + b'{"num_attention_heads": 2}')  # with a byte order mark
    pixelbert("import", *files, "--out", folder / "imported")
    pixelbert("export", "--checkpoint", folder / "imported", "--out", folder / "exported.safetensors")

    for name, content, message in (("empty", b"", "is 0 bytes long: too short for a safetensors file"),
                                   ("deep", nested(100_000), "found a list"),
                                   ("cut", (folder / "exported.safetensors").read_bytes()[:-9], "was cut or added to")):
        (folder / f"{name}.safetensors").write_bytes(content)
        for command in (["export", "--out", folder / "x.safetensors", "--checkpoint"], ["inspect"]):
            output = pixelbert(*command, folder / f"{name}.safetensors", expect=1)
            check(message in output and f"{name}.safetensors" in output and "frame #" not in output, output)
    (folder / "nothing").mkdir()
    output = pixelbert("pretrain", "--init", folder / "nothing", "--run.dir", folder / "run", "--data.shards",
                       folder / "shards", expect=1)
    check(f"no checkpoint at {folder}/nothing" in output, output)
    for command in (["import", *files, "--out", folder / "empty.safetensors"],
                    ["import", *files, "--out", folder / "empty.safetensors" / "x"]):
        output = pixelbert(*command, expect=2)
        check("--out" in output, output)


def nested(levels):
    header = b'{"a":' + b"[" * levels + b"]" * levels + b"}"
    return len(header).to_bytes(8, "little") + header


def test_every_wrong_call_is_named(folder):
    shards = make_scenes(folder / "shards")
    files = published(folder, shards)
    short = folder / "short.txt"
    short.write_text("\n".join((shards / "vocab.txt").read_text().splitlines()[:-1]) + "\n")
    (folder / "full").mkdir()
    (folder / "full" / "a").touch()
    tokens = len((shards / "vocab.txt").read_text().splitlines())
    out = ["--out", folder / "out"]
    for expect, command, message in (
            (2, ["import", *files], "--out is missing"),
            (2, ["import", *out, "--text.vocab", short], "there is nothing to import"),
            (2, ["import", *out, *files[:4]], "--text.vocab is missing"),
            (2, ["import", *files, "--out", folder / "full"], "already exists"),
            (2, ["import", *out, *files, "--text.vocab", short],
             f"--text.vocab has {tokens - 1} tokens, but {folder}/bert.safetensors has {tokens} word embeddings"),
            (2, ["import", *out, *files, "--model.backbone", "resnet50"], "holds a resnet18: leave the option out"),
            (2, ["import", *out, *files, "--model.heads", 5], "--model.hidden must be a multiple of --model.heads 5"),
            (2, ["import", *out, *files, "--model.layer", 5], "did you mean 'model.layers'"),
            (1, ["import", *out, *files, "--model.hidden", 128],
             "'bert.embeddings.LayerNorm.bias' is [64], the model needs [128]"),
            (1, ["import", *out, *files, "--model.layers", 3],
             "lacks 16 tensors that this model needs: bert.encoder.layer.2."),
            (1, ["import", *out, "--backbone", files[3], *files[4:]], "holds no ResNet of torchvision"),
            (1, ["import", *out, "--bert", files[1], *files[4:]], "holds no BERT of Hugging Face"),
            (1, ["import", *out, "--bert", folder / "absent", *files[4:]], "cannot open"),
            (2, ["export", "--checkpoint", folder / "out"], "--out must name a .safetensors file"),
            (2, ["export", "--out", folder / "x.safetensors"], "--checkpoint is missing"),
            (1, ["export", "--checkpoint", shards, "--out", folder / "x.safetensors"],
             "is not the manifest of a checkpoint"),
            (1, ["export", "--checkpoint", files[3], "--out", folder / "x.safetensors"], "holds only weights"),
            (2, ["exprot"], "did you mean 'export'"),
            (2, ["imprt"], "did you mean 'import'")):
        output = pixelbert(*command, expect=expect)
        check(message in output, f"{command}: expected '{message}', found: {output}")
    check(not (folder / "out").exists() and not list(folder.glob(".saving*")), "a failed import leaves nothing")
    published(folder, shards, hidden=80)
    (folder / "config.json").unlink()
    output = pixelbert("import", *out, *files, expect=2)
    check("--model.heads is missing" in output and "hidden size of 80" in output, output)


run_tests(sys.modules[__name__])
