"""Import before tests/e2e: programs that are started from here see simulated GPUs. This one has loaded its libraries."""

import os
import pathlib
import sys

os.environ["LD_LIBRARY_PATH"] = str(pathlib.Path(os.environ["PIXELBERT_BUILD"]) / "simulated_cuda")
os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:False"  # needs the driver
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
