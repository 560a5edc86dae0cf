"""Images and captions of scenes, and what a model says of them: for attention.py, swaps.py and words.py."""

import re
import subprocess

import h5py

from jobs import PIXELBERT, interval

WORDS = {"colour": "red yellow green cyan blue purple white black".split(),
         "shape": "circle square triangle star cross heart ring diamond".split(),
         "size": "small medium large".split()}
RELATION = re.compile(r"\b((left|right)(?= of)|above|below|(larger|smaller)(?= than))\b")


def captioned_images(folder, count):
    """Returns (JPEG, captions) of the first scenes."""
    with h5py.File(folder / "shard-00000.h5") as file:
        images, texts = file["images"], file["texts"]
        for image in range(count):
            begin, length = images["offset"][image], images["length"][image]
            captions = [bytes(texts["bytes"][texts["offset"][t]:texts["offset"][t] + texts["length"][t]]).decode()
                        for t in range(*images["first_text"][image:image + 2])]
            yield bytes(images["bytes"][begin:begin + length]), captions


def predict(checkpoint, jpeg, texts, folder):
    """Returns what `pixelbert predict` prints for an image with these texts."""
    image = folder / "image.jpg"
    image.write_bytes(jpeg)
    command = [PIXELBERT, "predict", "--checkpoint", checkpoint, "--image", image]
    for text in texts:
        command += ["--text", text]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def print_share(name, hits, scenes):
    """Prints the share of hits with its interval, which takes each of the scenes as one observation."""
    share = sum(hits) / len(hits)
    low, high = interval(share, len(scenes))
    print(f"{name}: {share:.3f} of {len(hits)} in {len(scenes)} scenes, interval {low:.3f} to {high:.3f}")
