"""Images and captions of scenes, and what a model says of them: for attention.py, swaps.py and words.py."""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

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


def predictions(checkpoint, examples):
    """Yields what `pixelbert predict` prints for each (JPEG, texts), one process a core."""
    def predict(example):
        jpeg, texts = example
        with tempfile.NamedTemporaryFile(suffix=".jpg") as image:
            image.write(jpeg)
            image.flush()
            command = [PIXELBERT, "predict", "--checkpoint", checkpoint, "--image", image.name]
            for text in texts:
                command += ["--text", text]
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
            if done.returncode != 0:
                sys.exit(done.stderr)
            return done.stdout

    with ThreadPoolExecutor(os.cpu_count()) as processes:
        yield from processes.map(predict, examples)


def print_share(name, hits, scenes):
    """Prints the share of hits with its interval, which takes each of the scenes as one observation."""
    share = sum(hits) / len(hits)
    low, high = interval(share, scenes)
    print(f"{name}: {share:.3f} of {len(hits)} in {scenes} scenes, interval {low:.3f} to {high:.3f}")
