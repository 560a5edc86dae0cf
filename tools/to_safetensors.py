#!/usr/bin/env python3
"""Published weight files that only Python can open, as safetensors for `pixelbert import`.

    to_safetensors.py resnet50-0676ba61.pth resnet50.safetensors
    to_safetensors.py X-152-32x8d-IN5k.pkl x152-32x8d.safetensors

.pth, .pt, .bin   a PyTorch state dict, bare or as "state_dict" or "model" of a checkpoint, with or without "module."
                  before its names. Names and values stay as they are.
.pkl              Caffe2 weights of a ResNeXt from detectron2's model zoo. Names become torchvision's, and two things
                  are made to fit what pixelbert feeds and computes, exactly:
  - These networks see BGR from 0 to 255 less the mean of ImageNet, divided by --std; pixelbert's see RGB less the
    same mean, divided by ImageNet's deviation. So the first convolution's input channels are reversed and multiplied
    by the quotient. As the means agree, a border of zeros is the same colour in both: both networks see the same there.
  - Their BatchNorms are scale and bias, the statistics are folded in. They get a running mean of 0 and a running
    variance of 1 less the epsilon that BatchNorm adds. Training statistics on top of them makes no sense, so
    `pixelbert import` recognises such a file and sets --model.batch-norm frozen.

Nothing in the input is executed: PyTorch files are opened with weights_only, pickles may hold arrays and containers.
"""

import argparse
import pathlib
import pickle
import re
import sys

import numpy
import torch
from safetensors.torch import save_file

DEVIATION = (58.395, 57.12, 57.375)  # RGB; src/images/image_ops.h
EPSILON = 1e-5  # of BatchNorm2d


def read_pytorch(path, _):
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        sys.exit(f"{path} is no PyTorch file, or opening it would run code in it: {first_line(error)}")
    except (EOFError, RuntimeError, ValueError) as error:
        sys.exit(f"{path} is damaged: {first_line(error)}")
    while isinstance(content, dict) and (wrapper := {"state_dict", "model"} & content.keys()):
        content = content[wrapper.pop()]
    if not isinstance(content, dict):
        sys.exit(f"{path} holds a {type(content).__name__}, expected a state dict: save model.state_dict()")
    weights = {name: tensor for name, tensor in content.items() if isinstance(tensor, torch.Tensor)}
    report_left_out(path, content.keys() - weights.keys())
    if not weights:
        sys.exit(f"{path} holds no tensors, but {describe(content)}")
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
        except (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError) as error:
            sys.exit(f"{path} is not a pickle of arrays: {first_line(error)}")
    if not isinstance(content, dict):
        sys.exit(f"{path} holds a {type(content).__name__}, expected a dictionary of arrays")
    return content.get("blobs", content)


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


def read_caffe2(path, deviation):
    blobs = read_pickle(path)
    names = {blob: torchvision_name(blob) for blob in blobs}
    weights = {name: torch.from_numpy(numpy.array(blobs[blob], dtype=numpy.float32))
               for blob, name in names.items() if name}
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


READERS = {".pth": read_pytorch, ".pt": read_pytorch, ".bin": read_pytorch, ".pkl": read_caffe2}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", type=pathlib.Path, help=", ".join(READERS))
    parser.add_argument("output", type=pathlib.Path, help=".safetensors")
    parser.add_argument("--std", type=float, nargs=3, default=(1, 1, 1), metavar=("B", "G", "R"),
                        help="of a .pkl: MODEL.PIXEL_STD of its detectron2 configuration (default: 1 1 1)")
    arguments = parser.parse_args()
    reader = READERS.get(arguments.input.suffix)
    if reader is None:
        parser.error(f"{arguments.input} ends in '{arguments.input.suffix}', expected one of {', '.join(READERS)}")
    if arguments.output.suffix != ".safetensors":
        parser.error(f"{arguments.output} does not end in .safetensors")
    if not arguments.input.is_file():
        sys.exit(f"{arguments.input} is not a file")

    weights = reader(arguments.input, arguments.std)
    # Tied tensors share memory, which safetensors refuses: each gets its own.
    weights = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()}
    aside = arguments.output.with_suffix(".tmp")
    save_file(weights, aside, metadata={"format": "pt"})
    aside.rename(arguments.output)
    print(f"{arguments.output}: {len(weights)} tensors")


if __name__ == "__main__":
    main()
