"""Decoded and resized pictures against Pillow: images_parity.py DUMP_DECODED

Decoded pixels are equal (both use libjpeg-turbo and libpng; CMYK goes through the same integer formula). Resized ones
differ by at most 2 of 255: both filter in fixed point, rounding after each of the two passes, with weights of different
precision.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image

DUMP = sys.argv[1]
DATA = pathlib.Path(os.environ["PIXELBERT_SHARED_DATA"])
TOLERANCE = 2


def real_pictures():
    if not DATA.is_dir():
        if os.environ.get("CI") == "true":
            sys.exit(f"CI=true and there is no real data: expected {DATA}")
        print(f"no real data in {DATA}: only generated pictures are compared")
        return []
    files = []
    for folder, count in [("coco-train2017", 40), ("vqa-v2-with-images", 61), ("flickr8k", 100), ("easy-vqa", 40)]:
        files += sorted((DATA / folder / "images").iterdir())[:count]
    return files


def made_pictures(folder):
    """The kinds that photographs of the data sets lack."""
    ramp = np.linspace(0, 255, 61 * 83).reshape(61, 83)
    noise = np.random.default_rng(0).integers(0, 60, (61, 83, 4))
    rgb = (np.stack([ramp, ramp[::-1], ramp[:, ::-1], ramp / 2], -1) * 0.7 + noise).astype(np.uint8)
    colour = Image.fromarray(rgb[..., :3])

    def save(name, image, **options):
        image.save(folder / name, **options)
        return folder / name

    return [
        save("grey.jpg", colour.convert("L")),
        save("cmyk.jpg", Image.fromarray(rgb, "CMYK"), quality=92),
        save("420.jpg", colour, subsampling="4:2:0", quality=80),
        save("422.jpg", colour, subsampling="4:2:2", quality=40),
        save("progressive.jpg", colour, progressive=True),
        save("rotated.jpg", colour, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
        save("grey.png", colour.convert("L")),
        save("one-bit.png", colour.convert("1")),
        save("palette.png", colour.quantize(32)),
        save("palette-transparent.png", colour.quantize(32), transparency=3),
        save("alpha.png", Image.fromarray(rgb, "RGBA")),
        save("grey-alpha.png", Image.fromarray(rgb[..., :2].copy(), "LA")),
        save("wrong-name.png", colour, format="JPEG"),
        save("pixel.jpg", colour.resize((1, 1))),
        save("long.jpg", colour.resize((20000, 10))),
        save("tall.png", colour.resize((10, 20000))),
    ]


def compare(files, short, long, scratch):
    command = [DUMP, str(short), str(long), scratch, *map(str, files)]
    sizes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    worst, changed, values, failed = 0, 0, 0, False
    for i, file in enumerate(files):
        height, width, h, w = map(int, sizes[i].split())
        image = Image.open(file)
        expected = np.asarray(image.convert("RGB"))
        decoded = np.fromfile(f"{scratch}/{i}.decoded", np.uint8).reshape(height, width, 3)
        if expected.shape != decoded.shape or not np.array_equal(expected, decoded):
            failed = True
            print(f"{file} ({image.mode}): decoded differently; {expected.shape} against {decoded.shape}")
            continue
        resized = np.fromfile(f"{scratch}/{i}.resized", np.uint8).reshape(h, w, 3).astype(int)
        reference = np.asarray(Image.fromarray(expected).resize((w, h), Image.Resampling.BILINEAR)).astype(int)
        difference = np.abs(resized - reference)
        worst = max(worst, difference.max())
        changed += np.count_nonzero(difference)
        values += difference.size
        if difference.max() > TOLERANCE:
            failed = True
            print(f"{file} to {w} x {h}: differs by {difference.max()} of 255, expected at most {TOLERANCE}")
    print(f"{len(files)} pictures to {short}/{long}: decoded equal, resized within {worst} of 255, "
          f"{100 * changed / values:.1f} % of the values differ")
    return failed


with tempfile.TemporaryDirectory() as scratch:
    made = pathlib.Path(scratch, "made")
    made.mkdir()
    pictures = real_pictures() + made_pictures(made)
    failures = [compare(pictures, short, long, scratch) for short, long in [(224, 384), (800, 1333)]]
sys.exit(any(failures))
