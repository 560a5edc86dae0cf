"""The model and training step of 'pixelbert pretrain' in PyTorch DDP on CPUs, under torchrun.

torchvision's ResNet in channels-last order, transformers' BERT with scaled-dot-product attention, the MLM head on the
masked positions only, one CNN pass for all texts of an image, gradients as views of DDP's buckets, fused optimizers.
Its batch is made once, so reading data costs it nothing; with --sizes a new one is made before each step, of images in
random order, padded to the largest. Rank 0 prints a JSON line per step, every rank one at the end.
"""

import argparse
import json
import os
import re
import time
from pathlib import Path

import torch
import torchvision
import transformers
from torch import distributed, nn
from torch.nn import functional as F
from transformers.models.bert.modeling_bert import BertOnlyMLMHead

parser = argparse.ArgumentParser()
for name, value in dict(steps=10, backbone="resnet50", layers=12, hidden=768, heads=12, side=256, images=4, texts=4,
                        text_tokens=20, masked=40, vocabulary=30522, sampled_pixels=100, precision="float32").items():
    parser.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
parser.add_argument("--save-every", type=int, default=0, help="steps; 0: never")
parser.add_argument("--save-to", type=Path)
parser.add_argument("--sizes", type=Path, help="height and width of an image per line")
parser.add_argument("--short-side", type=int, help="to which images of these sizes are resized")
parser.add_argument("--long-side", type=int)
args = parser.parse_args()
FROZEN_STAGES = 2
PAIRS = args.images * args.texts


class PixelBert(nn.Module):
    def __init__(self):
        super().__init__()
        config = transformers.BertConfig(
            vocab_size=args.vocabulary, hidden_size=args.hidden, num_hidden_layers=args.layers,
            num_attention_heads=args.heads, intermediate_size=4 * args.hidden, attn_implementation="sdpa")
        self.backbone = torchvision.models.get_model(args.backbone, weights=None)
        features = self.backbone.fc.in_features
        del self.backbone.fc
        self.conv = nn.Conv2d(features, args.hidden, 1)
        self.semantic_embedding = nn.Parameter(torch.randn(args.hidden) * 0.02)
        self.bert = transformers.BertModel(config, add_pooling_layer=False)
        self.mlm = BertOnlyMLMHead(config)
        self.mlm.predictions.decoder.weight = self.bert.embeddings.word_embeddings.weight
        self.itm = nn.Linear(args.hidden, 1)

        self.to(memory_format=torch.channels_last)
        b = self.backbone
        for stage in [nn.ModuleList([b.conv1, b.bn1]), b.layer1, b.layer2, b.layer3, b.layer4][:FROZEN_STAGES]:
            stage.eval().requires_grad_(False)

    def forward(self, images, cells, tokens, token_mask, masked):
        b = self.backbone
        x = b.maxpool(b.relu(b.bn1(b.conv1(images))))
        x = b.layer4(b.layer3(b.layer2(b.layer1(x))))
        grid = F.max_pool2d(self.conv(x), 2).permute(0, 2, 3, 1).flatten(0, 2)
        pixels = F.embedding(cells, grid) + self.semantic_embedding
        hidden = torch.cat([self.bert.embeddings(tokens), pixels], 1)
        mask = torch.cat([token_mask, torch.ones(cells.shape, dtype=torch.bool)], 1)
        mask = mask[:, None, None, :].expand(-1, 1, hidden.shape[1], -1)
        hidden = self.bert.encoder(hidden, attention_mask=mask).last_hidden_state
        words = self.mlm(hidden[:, :tokens.shape[1]].flatten(0, 1)[masked])
        return words, self.itm(hidden[:, 0]).squeeze(1)


def grid_of(side):
    return max(1, -(-side // 32) // 2)


def make_batch(sizes):
    """Of images with these heights and widths, zero below and to the right."""
    height, width = (max(sides) for sides in zip(*sizes))
    images = torch.zeros(args.images, 3, height, width).contiguous(memory_format=torch.channels_last)
    for image, (h, w) in zip(images, sizes):
        image[:, :h, :w].normal_()
    rows, columns = grid_of(height), grid_of(width)
    own = [(torch.arange(grid_of(h))[:, None] * columns + torch.arange(grid_of(w))).flatten() for h, w in sizes]
    count = min(args.sampled_pixels, min(map(len, own)))
    cells = torch.stack([image * rows * columns + own[image][torch.randperm(len(own[image]))[:count].sort().values]
                         for image in (pair // args.texts for pair in range(PAIRS))])
    tokens = torch.randint(1000, args.vocabulary, (PAIRS, args.text_tokens))
    token_mask = torch.ones(tokens.shape, dtype=torch.bool)
    token_mask[::2, -args.text_tokens // 4:] = False  # some texts are shorter than the longest
    masked = torch.arange(args.masked) * (tokens.numel() // args.masked)
    return (images, cells, tokens, token_mask, masked), tokens.flatten()[masked], (torch.arange(PAIRS) % 2).float()


def save(step):
    """The usual save: rank 0 writes weights and optimizers, the others wait. Returns the seconds that training stood."""
    start = time.perf_counter()
    if distributed.get_rank() == 0:
        aside = args.save_to / "aside.pt"
        with open(aside, "wb") as file:
            torch.save({"step": step, "model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}, file)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(args.save_to / "checkpoint.pt")
    distributed.barrier()
    return time.perf_counter() - start


torch.set_num_threads(1)
torch.manual_seed(1)
distributed.init_process_group("gloo")
model = PixelBert().train()
for module in model.modules():  # train() also switched the frozen stages
    if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
        module.eval()
ddp = nn.parallel.DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)
trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
cnn = [p for name, p in trained if name.startswith("backbone.")]
rest = [p for name, p in trained if not name.startswith("backbone.")]
optimizers = [torch.optim.SGD(cnn, lr=1e-4, momentum=0.9, weight_decay=5e-4, fused=True),
              torch.optim.AdamW(rest, lr=1e-5, weight_decay=0.01, fused=True)]


def resized(height, width):
    scale = min(args.long_side / max(height, width), args.short_side / min(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


def random_sizes():
    """One list per step of this rank, from one order of all images."""
    sizes = [resized(*map(int, line.split())) for line in args.sizes.read_text().splitlines()]
    ranks, rank = distributed.get_world_size(), distributed.get_rank()
    order = torch.randperm(len(sizes), generator=torch.Generator().manual_seed(1)).tolist()
    mine = order[rank::ranks]
    while True:
        for first in range(0, len(mine) - args.images + 1, args.images):
            yield [sizes[image] for image in mine[first:first + args.images]]


batches = random_sizes() if args.sizes else None
inputs, labels, matches = make_batch([(args.side, args.side)] * args.images)

for step in range(1, args.steps + 1):
    if batches:
        inputs, labels, matches = make_batch(next(batches))
        distributed.barrier()
    start = time.perf_counter()
    for optimizer in optimizers:
        optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=args.precision == "bf16"):
        words, match = ddp(*inputs)
    loss = F.cross_entropy(words.float(), labels) + F.binary_cross_entropy_with_logits(match.float(), matches)
    loss.backward()
    nn.utils.clip_grad_norm_(cnn + rest, 10)
    for optimizer in optimizers:
        optimizer.step()
    value = loss.item()
    seconds = time.perf_counter() - start
    stalled = save(step) if args.save_every and step % args.save_every == 0 else 0
    if distributed.get_rank() == 0:
        print(json.dumps({"step": step, "seconds": seconds, "loss": value, "stalled": stalled}), flush=True)

peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]
print(json.dumps({"rank": distributed.get_rank(), "peak_mib": int(peak) / 1024}), flush=True)
distributed.destroy_process_group()
