#!/usr/bin/env python3
"""Converts published weight files that only Python can open to safetensors for `pixelbert import`.

    to_safetensors.py resnet50-0676ba61.pth resnet50.safetensors
    to_safetensors.py X-152-32x8d-IN5k.pkl x152-32x8d.safetensors

The script recognises a file by its content, not by its name:

PyTorch           a state dict, bare or as "state_dict", "model" or "module" of a checkpoint, with or without "module."
                  before its names (.pth, .pt, .bin, .pth.tar). Names and values stay as they are.
pickle            Caffe2 weights of a ResNeXt from detectron2's model zoo (.pkl). Names become torchvision's, and two things
                  are converted exactly to what pixelbert computes:
  - These networks take BGR from 0 to 255 minus the mean of ImageNet, divided by --std; pixelbert's take RGB minus the same
    mean, divided by ImageNet's deviation. So the first convolution's input channels are reversed and multiplied by the
    quotient. Because the means agree, a border of zeros is the same colour for both networks.
  - Their BatchNorms are a scale and a bias with the statistics folded in. They get a running mean of 0 and a running
    variance of 1 minus the epsilon that BatchNorm adds. It makes no sense to train statistics on top of them, so
    `pixelbert import` recognises such a file and sets --model.batch-norm frozen.

Nothing in the input is executed: PyTorch files are opened with weights_only, and pickles may only hold arrays and containers.
"""

import argparse
import os
import pathlib
import pickle
import re
import sys

import numpy
import torch
from safetensors.torch import save_file

DEVIATION = (58.395, 57.12, 57.375)  # RGB; src/images/image_ops.h
EPSILON = 1e-5  # of BatchNorm2d


WRAPPERS = ("state_dict", "model", "module")


def unwrapped(path, content):
    """The innermost dictionary: which one never depends on an order, and two that could be meant are refused."""
    around = []
    while isinstance(content, dict):
        if any(content is outer for outer in around):
            sys.exit(f"{path} holds a dictionary that holds itself: save model.state_dict()")
        around.append(content)
        inner = [name for name in WRAPPERS if isinstance(content.get(name), dict)]
        if len(inner) > 1:
            sys.exit(f"{path} holds both '{inner[0]}' and '{inner[1]}': save the one that is meant alone")
        if not inner:
            break
        content = content[inner[0]]
    return content


def read_pytorch(path, _):
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        sys.exit(f"{path} is no PyTorch file, or opening it would run code in it: {first_line(error)}")
    except Exception as error:  # noqa: BLE001: torch.load throws whatever the damage leads to
        sys.exit(f"{path} is damaged: {first_line(error)}")
    content = unwrapped(path, content)
    if not isinstance(content, dict):
        sys.exit(f"{path} holds a {type(content).__name__}, expected a state dict: save model.state_dict()")
    weights = {name: tensor for name, tensor in content.items() if isinstance(tensor, torch.Tensor)}
    report_left_out(path, content.keys() - weights.keys())
    if not weights:
        sys.exit(f"{path} holds no tensors, but {describe(content)}")
    for name in weights:
        if not isinstance(name, str):
            sys.exit(f"{path} has a tensor under {name!r}, expected names: save model.state_dict()")
    if all(name.startswith("module.") for name in weights):  # saved inside DistributedDataParallel
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    return weights


class ArraysOnly(pickle.Unpickler):
    """Opens what NumPy wrote, and calls nothing else."""

    ALLOWED = {("_codecs", "encode"), ("collections", "OrderedDict"), ("numpy", "dtype"), ("numpy", "ndarray")}
    ALLOWED |= {(f"numpy.{core}.{module}", name) for core in ("core", "_core")
                for module, name in (("multiarray", "_reconstruct"), ("multiarray", "scalar"),
                                       ("numeric", "_frombuffer"))}

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no array")
        return super().find_class(module, name)


def read_pickle(path):
    with open(path, "rb") as file:
        try:
            content = ArraysOnly(file, encoding="latin1").load()
        except Exception as error:  # noqa: BLE001: an unpickler throws whatever the damage leads to
            sys.exit(f"{path} is not a pickle of arrays: {first_line(error)}")
    if not isinstance(content, dict):
        sys.exit(f"{path} holds a {type(content).__name__}, expected a dictionary of arrays")
    blobs = content.get("blobs", content)
    if not isinstance(blobs, dict):
        sys.exit(f"{path}: its 'blobs' are a {type(blobs).__name__}, expected a dictionary of arrays")
    return blobs


def torchvision_name(blob):
    """None for what is no weight of the backbone: the classifier, momenta, the learning rate."""
    kinds = {"w": "weight", "bn_s": "weight", "bn_b": "bias"}
    if blob == "conv1_w":
        return "conv1.weight"
    if stem := re.fullmatch(r"res_conv1_(bn_[sb])", blob):
        return f"bn1.{kinds[stem[1]]}"
    block = re.fullmatch(r"res([2-5])_(\d+)_branch(1|2[abc])_(w|bn_[sb])", blob)
    if not block:
        return None
    stage, number, branch, kind = block.groups()
    if branch == "1":
        part = "downsample.0" if kind == "w" else "downsample.1"
    else:
        part = ("conv" if kind == "w" else "bn") + str("abc".index(branch[1]) + 1)
    return f"layer{int(stage) - 1}.{number}.{part}.{kinds[kind]}"


def as_tensor(path, name, values):
    try:
        return torch.from_numpy(numpy.array(values, dtype=numpy.float32))
    except (TypeError, ValueError, RecursionError) as error:
        sys.exit(f"{path}: {name} is no array of numbers: {first_line(error)}")


def read_caffe2(path, deviation):
    blobs = read_pickle(path)
    names = {blob: torchvision_name(str(blob)) for blob in blobs}
    weights = {name: as_tensor(path, blob, blobs[blob]) for blob, name in names.items() if name}
    report_left_out(path, [blob for blob, name in names.items() if not name])
    first = weights.get("conv1.weight")
    if first is None:
        sys.exit(f"{path} holds no Caffe2 ResNet: expected conv1_w, found {describe(blobs)}")
    if first.dim() != 4 or first.shape[1] != 3:
        sys.exit(f"{path}: conv1_w is {list(first.shape)}, expected 3 input channels")
    grouped = weights.get("layer1.0.conv2.weight")
    if grouped is None or grouped.shape[0] == grouped.shape[1]:
        sys.exit(f"{path} is no ResNeXt: the plain ResNets among detectron2's Caffe2 files have their strides in the "
                 "first convolution of a block, pixelbert and torchvision in the second. Use torchvision's ResNet")
    scale = torch.tensor(DEVIATION) / torch.tensor(deviation[::-1])
    weights["conv1.weight"] = first.flip(1) * scale.view(1, 3, 1, 1)
    for name in [name for name in weights if is_batch_norm_weight(name)]:
        channels, norm = weights[name].numel(), name.removesuffix("weight")
        weights[norm + "running_mean"] = torch.zeros(channels)
        weights[norm + "running_var"] = torch.full((channels,), 1 - EPSILON)
    return weights


def is_batch_norm_weight(name):
    return re.search(r"(bn\d|downsample\.1)\.weight$", name) is not None


def first_line(error):
    return (str(error) or type(error).__name__).splitlines()[0]


def describe(content):
    names = sorted(map(str, content))
    return f"{len(names)} entries: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"


def report_left_out(path, names):
    if names:
        print(f"{path}: left out {', '.join(sorted(map(str, names)))}")


def reader_of(path):
    """By the first bytes: .pth.tar is no tar file, and .bin may be anything."""
    with open(path, "rb") as file:
        start = file.read(512)
    if start.startswith(b"PK") or LEGACY in start[:32] or start[257:262] == b"ustar":
        return read_pytorch
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        sys.exit(f"{path} is a safetensors file already: give it to pixelbert import")
    if not start:
        sys.exit(f"{path} is empty")
    return read_caffe2


LEGACY = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")  # with which torch.save began before PyTorch 1.6


def save(weights, output):
    # Tied tensors share memory, which safetensors refuses: each gets its own.
    weights = {name: tensor.detach().clone(memory_format=torch.contiguous_format)
               for name, tensor in sorted(weights.items())}
    aside = output.with_name(f"{output.name}.{os.getpid()}.tmp")
    try:
        save_file(weights, aside, metadata={"format": "pt"})
        aside.rename(output)
    finally:
        aside.unlink(missing_ok=True)
    print(f"{output}: {len(weights)} tensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=pathlib.Path, help="a PyTorch file or a pickle of Caffe2 weights")
    parser.add_argument("output", type=pathlib.Path, help=".safetensors")
    parser.add_argument("--std", type=float, nargs=3, default=(1, 1, 1), metavar=("B", "G", "R"),
                        help="of a pickle: MODEL.PIXEL_STD of its detectron2 configuration (default: 1 1 1)")
    arguments = parser.parse_args()
    if arguments.output.suffix != ".safetensors":
        parser.error(f"{arguments.output} does not end in .safetensors")
    if not all(deviation > 0 for deviation in arguments.std):
        parser.error(f"--std {arguments.std}: expected three numbers above 0")
    if not arguments.input.is_file():
        sys.exit(f"{arguments.input} is not a file")
    try:
        save(reader_of(arguments.input)(arguments.input, arguments.std), arguments.output)
    except Exception as error:  # noqa: BLE001: a full disk, tensors that safetensors does not hold, too little memory
        sys.exit(f"cannot convert {arguments.input} to {arguments.output}: {first_line(error)}")


if __name__ == "__main__":
    main()
