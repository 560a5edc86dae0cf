"""Compares Pixel-BERT with torchvision and transformers: outputs, losses and every gradient.

run_model_case (C++) makes weights and runs; this script loads the same weights into the references, strictly by name.

The measure is |a - b| / |b| of each tensor as a whole (Frobenius norm), at most 1e-4 in float32: sums of hundreds to
thousands of terms in another order differ by about 1e-6, and depth adds to that; a wrong epsilon, a missing bias or
swapped axes gives 1e-3 and more. In float64 it is at most 1e-5, because the losses are always in float32.
Single elements near zero differ by any factor, so they are not compared alone.

ReLU and max-pooling have kinks: a value within rounding of a kink may fall on its other side, and then its gradient is
quite different (1e-3 of a tensor; through BatchNorm over few values, several per cent). Two things avoid kinks:
- torchvision runs in channels-last order as we do. With local BatchNorm the backbones are then equal bit for bit;
  torchvision's own two memory orders differ by 3e-2 in a gradient of ResNet-50.
- Frozen BatchNorm is folded into the convolutions here and not there, so rounding differs. Such a case is in float64,
  where kinks are a billion times rarer. In float32 it has several draws of weights and images: outputs and losses must
  hold in all of them, gradients in one, because each draw has other kinks, but a mistake shows in all. (Not where local
  BatchNorm follows folded stages: it amplifies their rounding until every draw has kinks.)
"""

import json
import os
import subprocess
import sys
import tempfile
import time

import torch
import torchvision
import transformers
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

RUN_CASE = sys.argv[1]
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-5}
BACKBONES = {  # name: torchvision's block, blocks, groups, width per group
    "resnet18": ("BasicBlock", [2, 2, 2, 2], 1, 64),
    "resnet34": ("BasicBlock", [3, 4, 6, 3], 1, 64),
    "resnet50": ("Bottleneck", [3, 4, 6, 3], 1, 64),
    "resnet101": ("Bottleneck", [3, 4, 23, 3], 1, 64),
    "resnet152": ("Bottleneck", [3, 8, 36, 3], 1, 64),
    "resnext50-32x4d": ("Bottleneck", [3, 4, 6, 3], 32, 4),
    "resnext101-32x8d": ("Bottleneck", [3, 4, 23, 3], 32, 8),
    "resnext152-32x4d": ("Bottleneck", [3, 8, 36, 3], 32, 4),
    "resnext152-32x8d": ("Bottleneck", [3, 8, 36, 3], 32, 8),
}
DRAWS = 8
BERT_OPTIONS = {"vocabulary": 200, "hidden": 48, "layers": 2, "heads": 4, "positions": 16}

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def run_case(case, inputs):
    with tempfile.TemporaryDirectory() as folder:
        case_path, inputs_path, results_path = (f"{folder}/{name}" for name in ("case.json", "in", "out"))
        with open(case_path, "w") as file:
            json.dump(case, file)
        save_file(inputs, inputs_path)
        subprocess.run([RUN_CASE, case_path, inputs_path, results_path], check=True)
        return load_file(results_path)


def below(prefix, tensors):
    return {name[len(prefix):]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def holds(check, draws, *arguments, **options):
    return any(check(*arguments, **options, seed=seed) for seed in range(1, draws + 1))


class Comparison:
    """Collects differences; prints the worst, and fails the case if one is too large."""

    def __init__(self, case, seed, precision=torch.float32):
        self.case, self.worst, self.failures, self.compared = case, (0.0, "nothing"), [], 0
        self.tolerance = TOLERANCE[precision]
        if precision == torch.float64:
            self.case += ", float64"
        if seed > 1:
            self.case += f", draw {seed}"

    def equal(self, name, ours, reference):
        assert ours.shape == reference.shape, f"{self.case}: {name} is {ours.shape}, the reference {reference.shape}"
        error = ((ours.double() - reference.double()).norm() / reference.double().norm().clamp_min(1e-30)).item()
        if not error <= self.tolerance:
            self.failures.append(f"{name}: {error:.1e}")
        self.worst = max(self.worst, (error, name))
        self.compared += 1

    def gradients(self, results, named_parameters):
        ours = below("grad.", results)
        reference = {name: p.grad for name, p in named_parameters if p.grad is not None}
        if set(ours) != set(reference):
            self.failures.append(f"gradients of other parameters: {sorted(set(ours) ^ set(reference))}")
            return
        total = torch.stack([gradient.norm() for gradient in reference.values()]).norm()
        for name, gradient in reference.items():
            if name.endswith("self.key.bias"):
                # Softmax does not change if all scores of a query change alike, so this gradient is 0 except for rounding.
                if ours[name].norm() > 1e-6 * total:
                    self.failures.append(f"{name} has a gradient of {ours[name].norm():.1e}, not 0")
            else:
                self.equal(f"gradient of {name}", ours[name], gradient)

    def finish(self):
        error, name = self.worst
        print(f"{self.case:72} {self.compared:4} tensors, worst {error:.1e} ({name})", flush=True)
        for failure in self.failures[:5]:
            print(f"    {failure}")
        if not all(failure.startswith("gradient of ") for failure in self.failures):
            sys.exit(f"{self.case}: not only gradients differ, so it is no kink")
        return not self.failures


class Backbone(torchvision.models.ResNet):
    def __init__(self, name):
        block, blocks, groups, width = BACKBONES[name]
        super().__init__(getattr(torchvision.models.resnet, block), blocks, groups=groups, width_per_group=width)
        del self.fc

    def forward(self, x):
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def set_mode(self, train, batch_norm, frozen_stages):
        self.train(train).to(memory_format=torch.channels_last)
        stages = [nn.ModuleList([self.conv1, self.bn1]), self.layer1, self.layer2, self.layer3, self.layer4]
        for stage in stages[:frozen_stages]:
            stage.eval().requires_grad_(False)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d) and batch_norm == "frozen":
                module.eval().requires_grad_(False)


def masked_lm(config):
    model = transformers.BertForMaskedLM(transformers.BertConfig(
        vocab_size=config["vocabulary"], hidden_size=config["hidden"], num_hidden_layers=config["layers"],
        num_attention_heads=config["heads"], intermediate_size=4 * config["hidden"],
        max_position_embeddings=config["positions"], hidden_dropout_prob=0, attention_probs_dropout_prob=0,
        attn_implementation="eager"))
    return model.train()


def load_masked_lm(model, weights):
    own = {name: tensor for name, tensor in weights.items() if name.startswith(("bert.", "cls."))}
    missing, unexpected = model.load_state_dict(own, strict=False)
    # The type embedding is folded into the positions; the decoder is tied.
    assert set(missing) == {"bert.embeddings.token_type_embeddings.weight", "cls.predictions.decoder.weight",
                            "cls.predictions.decoder.bias"}, missing
    assert not unexpected, unexpected
    types = model.bert.embeddings.token_type_embeddings.weight
    types.requires_grad_(False).zero_()


def named_gradients_of(model):
    return [item for item in model.named_parameters() if "decoder" not in item[0]]


def check_resnet(backbone, seed, train=True, batch_norm="local", frozen_stages=0, precision=torch.float32):
    name = f"{backbone} {'training' if train else 'evaluation'}, {batch_norm} BatchNorm, {frozen_stages} stages frozen"
    torch.manual_seed(seed)
    reference = Backbone(backbone).to(precision)
    reference.set_mode(train, batch_norm, frozen_stages)
    channels = 512 if BACKBONES[backbone][0] == "BasicBlock" else 2048
    inputs = {"images": torch.randn(2, 3, 65, 97), "gradient": torch.randn(2, channels, 3, 4)}
    inputs = {key: tensor.to(precision) for key, tensor in inputs.items()}
    config = {"backbone": backbone, "batch_norm": batch_norm, "frozen_stages": frozen_stages}
    results = run_case({"what": "resnet", "train": train, "seed": seed, "config": config}, inputs)

    reference.load_state_dict(below("backbone.", results), strict=True)
    features = reference(inputs["images"])
    features.backward(inputs["gradient"])
    comparison = Comparison(name, seed, precision)
    comparison.equal("features", results["out.features"], features.detach())
    comparison.gradients(results, [("backbone." + n, p) for n, p in reference.named_parameters()])
    if train and batch_norm == "local":
        for buffer, value in reference.named_buffers():
            comparison.equal("updated " + buffer, results["out.updated." + buffer], value)
    return comparison.finish()


def make_text(config, pairs, length):
    """Returns texts of every length from `length` down, padded with [PAD], and some masked positions."""
    lengths = [max(length - 2 * pair, 3) for pair in range(pairs)]
    mask = torch.tensor([[t < n for t in range(length)] for n in lengths])
    tokens = torch.randint(1, config["vocabulary"], (pairs, length)) * mask
    positions = [pair * length + t for pair, n in enumerate(lengths) for t in range(1, n - 1, 2)]
    return {"tokens": tokens, "token_mask": mask, "mlm_positions": torch.tensor(positions),
            "mlm_labels": torch.randint(0, config["vocabulary"], (len(positions),))}


def check_bert(name, config, seed):
    torch.manual_seed(seed)
    inputs = make_text(config, pairs=3, length=11)
    results = run_case({"what": "bert", "seed": seed, "config": config}, inputs)
    model = masked_lm(config)
    load_masked_lm(model, results)
    labels = torch.full(inputs["tokens"].shape, -100)
    labels.view(-1)[inputs["mlm_positions"]] = inputs["mlm_labels"]
    output = model(inputs["tokens"], attention_mask=inputs["token_mask"].long(), labels=labels,
                   output_hidden_states=True, output_attentions=True)
    output.loss.backward()
    comparison = Comparison(name, seed)
    tokens = inputs["token_mask"]  # what padding has is nobody's
    comparison.equal("hidden", results["out.hidden"][tokens], output.hidden_states[-1].detach()[tokens])
    comparison.equal("attention", results["out.attention"], torch.cat(output.attentions).detach())
    comparison.equal("logits", results["out.logits"][tokens.flatten()], output.logits.detach()[tokens])
    comparison.equal("loss", results["out.loss"], output.loss.detach())
    comparison.gradients(results, named_gradients_of(model))
    return comparison.finish()


class PixelBert(nn.Module):
    """The paper's Figure 2 in torchvision and transformers."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.backbone = Backbone(config["backbone"])
        channels = 512 if BACKBONES[config["backbone"]][0] == "BasicBlock" else 2048
        self.visual = nn.Module()
        self.visual.conv = nn.Conv2d(channels, config["hidden"], config["visual_kernel"], padding="same")
        self.visual.semantic_embedding = nn.Parameter(torch.zeros(config["hidden"]))
        if config["pixel_layernorm"]:
            self.visual.LayerNorm = nn.LayerNorm(config["hidden"], eps=1e-12)
        self.text = masked_lm(config)
        self.itm = nn.Linear(config["hidden"], 1)

    def pixel_grid(self, images):
        conv, order = self.visual.conv, self.config["visual_order"]
        grid = self.backbone(images)
        if order == "conv-pool":
            grid = functional.max_pool2d(conv(grid), 2)
        elif order == "pool-conv":
            grid = conv(functional.max_pool2d(grid, 2))
        else:
            grid = conv(grid)
        return functional.relu(grid) if self.config["visual_relu"] else grid

    def forward(self, inputs, cells, pixel_mask):
        grid = self.pixel_grid(inputs["images"])
        pixels = grid.permute(0, 2, 3, 1).flatten(0, 2)[cells] + self.visual.semantic_embedding
        if self.config["pixel_layernorm"]:
            pixels = self.visual.LayerNorm(pixels)
        hidden = torch.cat([self.text.bert.embeddings(inputs["tokens"]), pixels], 1)
        mask = torch.cat([inputs["token_mask"], pixel_mask], 1)
        extended = self.text.bert.get_extended_attention_mask(mask.long(), mask.shape)
        return self.text.bert.encoder(hidden, attention_mask=extended).last_hidden_state

    def losses(self, inputs, hidden):
        length = inputs["tokens"].shape[1]
        logits = self.text.cls(hidden[:, :length]).flatten(0, 1)[inputs["mlm_positions"]]
        match = self.itm(hidden[:, 0]).squeeze(1)
        return (functional.cross_entropy(logits, inputs["mlm_labels"], reduction="sum"),
                functional.binary_cross_entropy_with_logits(match, inputs["itm_labels"], reduction="sum"),
                (logits.argmax(1) == inputs["mlm_labels"]).sum().float(),
                ((match > 0) == (inputs["itm_labels"] > 0.5)).sum().float())


def all_cells(config, inputs):
    """All cells in row order, in the grid that each image alone would have."""
    def grid(height, width):
        def conv(n, kernel, padding): return (n + 2 * padding - kernel) // 2 + 1
        for kernel, padding in ((7, 3), (3, 1), (3, 1), (3, 1), (3, 1)):
            height, width = conv(height, kernel, padding), conv(width, kernel, padding)
        return (height, width) if config["visual_order"] == "conv" else (height // 2, width // 2)

    rows, columns = grid(*inputs["images"].shape[2:])
    cells = []
    for image in inputs["image_of_row"].tolist():
        height, width = grid(*inputs["image_sizes"][image].tolist())
        cells.append([image * rows * columns + y * columns + x for y in range(height) for x in range(width)])
    return cells


def check_pixel_bert(name, seed, sample=False, train=True, precision=torch.float32, **options):
    config = {"backbone": "resnet18", "batch_norm": "local", "frozen_stages": 0, "visual_kernel": 1,
              "visual_order": "conv-pool", "visual_relu": False, "pixel_layernorm": False, "sampled_pixels": 3,
              **BERT_OPTIONS, **options}
    torch.manual_seed(seed)
    sizes = torch.tensor([[160, 100], [130, 160], [97, 70]])
    images = torch.zeros(3, 3, 160, 160)
    for image, (height, width) in enumerate(sizes.tolist()):
        images[image, :, :height, :width] = torch.randn(3, height, width)
    inputs = {"images": images.to(precision), "image_sizes": sizes, "image_of_row": torch.tensor([0, 0, 1, 2]),
              "itm_labels": torch.tensor([1.0, 0.0, 0.0, 1.0]), **make_text(config, pairs=4, length=9)}
    results = run_case({"what": "pixel-bert", "train": train, "sample": sample, "seed": seed, "config": config},
                       inputs)

    reference = PixelBert(config)
    load_masked_lm(reference.text, results)
    weights = {name: tensor for name, tensor in results.items()
               if name.startswith(("backbone.", "visual.", "itm."))}
    missing, unexpected = reference.load_state_dict(weights, strict=False)
    assert not unexpected and all(name.startswith("text.") for name in missing), (missing, unexpected)
    reference.backbone.set_mode(train, config["batch_norm"], config["frozen_stages"])
    reference.to(precision)

    cells, pixel_mask = results["out.cells"], results["out.mask"][:, inputs["tokens"].shape[1]:]
    for pair, possible in enumerate(all_cells(config, inputs)):
        chosen = cells[pair][pixel_mask[pair]].tolist()
        if sample:
            assert len(chosen) == min(config["sampled_pixels"], len(possible)), (chosen, possible)
            assert chosen == sorted(set(chosen)) and set(chosen) <= set(possible), (chosen, possible)
        else:
            assert chosen == possible, (chosen, possible)

    hidden = reference(inputs, cells, pixel_mask)
    mlm, itm, mlm_correct, itm_correct = reference.losses(inputs, hidden)
    (mlm / len(inputs["mlm_labels"]) + itm / len(inputs["itm_labels"])).backward()
    comparison = Comparison("Pixel-BERT " + name, seed, precision)
    tokens = torch.cat([inputs["token_mask"], pixel_mask], 1)
    comparison.equal("hidden", results["out.hidden"][tokens], hidden.detach()[tokens])
    comparison.equal("MLM loss", results["out.mlm_sum"], mlm.detach())
    comparison.equal("ITM loss", results["out.itm_sum"], itm.detach())
    assert results["out.mlm_correct"] == mlm_correct and results["out.itm_correct"] == itm_correct
    comparison.gradients(results, [(n.removeprefix("text."), p) for n, p in named_gradients_of(reference)])
    return comparison.finish()


class TaskHead(nn.Module):
    def __init__(self, inside, inner, classes):
        super().__init__()
        self.dense, self.classifier = nn.Linear(inside, inner), nn.Linear(inner, classes)

    def forward(self, x):
        return self.classifier(functional.relu(self.dense(x)))


def task_loss(task, head, hidden, inputs, hard_negatives):
    """Returns the sum over the samples and the number of correct ones, as the paper defines them."""
    cls = hidden[:, 0]
    if task == "vqa":
        logits, scores = head(cls), inputs["answer_scores"]
        best = logits.argmax(1, keepdim=True)
        return functional.binary_cross_entropy_with_logits(logits, scores, reduction="sum"), scores.gather(1, best).sum()
    if task == "nlvr2":
        logits = head(torch.cat([cls[0::2], cls[1::2]], 1))
        return (functional.cross_entropy(logits, inputs["labels"], reduction="sum"),
                (logits.argmax(1) == inputs["labels"]).sum())
    scores = head(cls).view(2, -1)  # two images, each with its own text first
    hardest = scores[:, 1:].topk(hard_negatives, 1).values
    kept = torch.cat([scores[:, :1], hardest], 1)
    return (functional.cross_entropy(kept, torch.zeros(2, dtype=torch.long), reduction="sum"),
            (scores[:, 0] > scores[:, 1:].amax(1)).sum())


def check_task(task, seed):
    hidden, answers, hard_negatives = BERT_OPTIONS["hidden"], 7, 2
    config = {"backbone": "resnet18", "batch_norm": "local", "frozen_stages": 0, "visual_kernel": 1,
              "visual_order": "conv-pool", "visual_relu": False, "pixel_layernorm": False, "sampled_pixels": 3,
              **BERT_OPTIONS}
    image_of_row, samples = {"vqa": ([0, 0, 1], 3), "nlvr2": ([0, 1, 0, 1, 2, 0], 3),
                              "retrieval": ([0] * 5 + [1] * 5, 2)}[task]
    torch.manual_seed(seed)
    sizes = torch.tensor([[160, 100], [130, 160], [97, 70]])[:max(image_of_row) + 1]
    images = torch.zeros(len(sizes), 3, 160, 160)
    for image, (height, width) in enumerate(sizes.tolist()):
        images[image, :, :height, :width] = torch.randn(3, height, width)
    text = make_text(config, pairs=len(image_of_row), length=9)
    inputs = {"images": images, "image_sizes": sizes, "image_of_row": torch.tensor(image_of_row),
              "tokens": text["tokens"], "token_mask": text["token_mask"], "answer_scores": torch.rand(3, answers),
              "labels": torch.tensor([1, 0, 1])}
    results = run_case({"what": "task", "task": task, "samples": samples, "answers": answers, "hard_negatives": hard_negatives,
                        "seed": seed, "config": config}, inputs)

    reference = PixelBert(config)
    text_weights = below("bert.", results)
    text_weights = {"text.bert." + name: tensor for name, tensor in text_weights.items()}
    weights = {name: tensor for name, tensor in results.items() if name.startswith(("backbone.", "visual."))}
    missing, unexpected = reference.load_state_dict({**weights, **text_weights}, strict=False)
    assert not unexpected and all("token_type" in name or name.startswith(("text.cls.", "itm.")) for name in missing)
    reference.text.bert.embeddings.token_type_embeddings.weight.requires_grad_(False).zero_()
    reference.backbone.set_mode(True, "local", 0)
    head = {"vqa": TaskHead(hidden, 4 * hidden, answers), "nlvr2": TaskHead(2 * hidden, 2 * hidden, 2),
            "retrieval": nn.Linear(hidden, 1)}[task]
    head.load_state_dict(below(task + ".", results), strict=True)

    cells = all_cells(config, inputs)
    most = max(map(len, cells))
    pixel_mask = torch.tensor([[True] * len(row) + [False] * (most - len(row)) for row in cells])
    padded = torch.tensor([row + [row[0]] * (most - len(row)) for row in cells])
    loss, correct = task_loss(task, head, reference(inputs, padded, pixel_mask), inputs, hard_negatives)
    (loss / samples).backward()
    comparison = Comparison(f"fine-tuning for {task}", seed)
    comparison.equal("loss", results["out.sum"], loss.detach())
    assert abs(results["out.correct"] - correct) < 1e-5, (results["out.correct"], correct)
    named = [(name.removeprefix("text."), p) for name, p in reference.named_parameters()
             if not name.startswith(("text.cls.", "itm."))]
    comparison.gradients(results, named + [(f"{task}.{name}", p) for name, p in head.named_parameters()])
    return comparison.finish()


def check_backbone_states():
    shapes = below("out.", run_case({"what": "backbones", "seed": 1}, {"unused": torch.zeros(1)}))
    for name in BACKBONES:
        with torch.device("meta"):
            reference = {key: list(tensor.shape) for key, tensor in Backbone(name).state_dict().items()}
        ours = {key: shape.tolist() for key, shape in below(name + ".", shapes).items()}
        assert ours == reference, f"{name}: {set(ours.items()) ^ set(reference.items())}"
        print(f"{name:72} {len(ours):4} names and shapes as torchvision's")
    return True


def main():
    start = time.time()
    base = {"vocabulary": 3000, "hidden": 768, "layers": 12, "heads": 12, "positions": 512}
    good = [check_backbone_states()]
    both = (torch.float64, 1), (torch.float32, DRAWS)
    for backbone in ("resnet18", "resnet50", "resnext50-32x4d"):
        good.append(holds(check_resnet, 1, backbone))
        for precision, draws in both:
            good.append(holds(check_resnet, draws, backbone, batch_norm="frozen", precision=precision))
            good.append(holds(check_resnet, draws, backbone, train=False, precision=precision))
    for stages in (1, 3, 4):
        good.append(holds(check_resnet, 1, "resnet18", frozen_stages=stages, precision=torch.float64))
    good.append(holds(check_bert, 1, "BERT small", BERT_OPTIONS))
    good.append(holds(check_bert, 1, "BERT base", base))
    good.append(holds(check_pixel_bert, 1, "resnet18, all pixels"))
    good.append(holds(check_pixel_bert, 1, "resnet18, sampled", sample=True))
    good.append(holds(check_pixel_bert, 1, "resnet18, pool-conv 3x3, ReLU, LayerNorm, sampled", sample=True,
                      visual_kernel=3, visual_order="pool-conv", visual_relu=True, pixel_layernorm=True))
    good.append(holds(check_pixel_bert, 1, "resnet18, conv without pool, LayerNorm", visual_order="conv",
                      pixel_layernorm=True))
    good.append(holds(check_pixel_bert, 1, "resnet50, two stages frozen, sampled", sample=True, backbone="resnet50",
                      frozen_stages=2, precision=torch.float64))
    for precision, draws in both:
        good.append(holds(check_pixel_bert, draws, "resnet18, evaluation mode", train=False, precision=precision))
        good.append(holds(check_pixel_bert, draws, "resnext50-32x4d, frozen BatchNorm", backbone="resnext50-32x4d",
                          batch_norm="frozen", precision=precision))
    for task in ("vqa", "nlvr2", "retrieval"):
        good.append(holds(check_task, 1, task))
    print(f"{len(good)} cases, {good.count(False)} failed, {time.time() - start:.0f} s")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
