"""Compares decoded and resized images with Pillow: images_parity.py DUMP_DECODED [DAMAGED [SEED]]

Decoded pixels are equal (both use libjpeg-turbo and libpng; CMYK goes through the same integer formula). Resized ones
differ by at most 2 of 255: both filter in fixed point, rounding after each of the two passes, with weights of different
precision.

DAMAGED images (600) are refused if Pillow refuses them, and equal Pillow's if both accept them. An image that Pillow
accepts may be refused only for a reason in STRICTER.
"""

import collections
import io
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import warnings
import zlib

import numpy as np
from PIL import Image

DUMP = sys.argv[1]
DATA = pathlib.Path(os.environ["PIXELBERT_SHARED_DATA"])
DAMAGED = int(sys.argv[2]) if len(sys.argv) > 2 else 600
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else 0
TOLERANCE = 2
STRICTER = [
    "pixels in",  # more of them than the bytes can hold; Pillow fills with grey or black
    "a PNG",      # Pillow reads past wrong checksums, misplaced and missing chunks, and rows that are not there
]


def real_images():
    if not DATA.is_dir():
        if os.environ.get("CI") == "true":
            sys.exit(f"CI=true and there is no real data: expected {DATA}")
        print(f"no real data in {DATA}: only generated images are compared")
        return []
    files = []
    for folder, count in [("coco-train2017", 40), ("vqa-v2-with-images", 61), ("flickr8k", 100), ("easy-vqa", 40)]:
        files += sorted((DATA / folder / "images").iterdir())[:count]
    return files


def made_images(folder):
    """Kinds of images that the data sets lack."""
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
    print(f"{len(files)} images to {short}/{long}: decoded equal, resized within {worst} of 255, "
          f"{100 * changed / values:.1f} % of the values differ")
    return failed


def parts(encoded):
    """Returns where the segments of a JPEG or the chunks of a PNG begin and end."""
    png = encoded.startswith(b"\x89PNG")
    found, at = [], 8 if png else 2
    while at + 4 <= len(encoded) and (png or encoded[at] == 0xFF):
        number = encoded[at:at + 4] if png else encoded[at + 2:at + 4]
        end = at + int.from_bytes(number, "big") + (12 if png else 2)
        found.append((at, end))
        at = end
    return found


def damaged(encoded, rng):
    png = encoded.startswith(b"\x89PNG")
    made, at, many = bytearray(encoded), rng.randrange(1, len(encoded)), rng.randint(1, 40)
    kind = rng.randrange(7)
    if kind == 0:
        for _ in range(rng.randint(1, 4)):
            made[rng.randrange(len(made))] = rng.randrange(256)
    elif kind == 1:  # somewhere in the headers
        made[rng.randrange(min(len(made), 700))] ^= 1 << rng.randrange(8)
    elif kind == 2:
        del made[rng.choice([len(made) - many, at]):]
    elif kind == 3:
        made[at:at] = rng.randbytes(many)
    elif kind == 4:
        del made[at:at + many]
    elif kind == 5:  # a part missing, doubled, or moved
        begin, end = rng.choice(parts(encoded))
        where = rng.choice(parts(encoded))[0]
        if rng.random() < 0.3:
            del made[begin:end]
        else:
            made[where:where] = encoded[begin:end]
    elif png:  # the content of a chunk, with a correct checksum
        begin, end = rng.choice(parts(encoded)[:-1])
        made[rng.randrange(begin + 8, end - 4)] ^= 1 << rng.randrange(8)
        made[end - 4:end] = zlib.crc32(made[begin + 4:end - 4]).to_bytes(4, "big")
    else:  # a marker
        made[at:at + 2] = bytes([0xFF, rng.choice([0xC4, 0xD0, 0xD5, 0xD8, 0xD9, 0xDA, 0xDB, 0xE0, 0xF6, 0xFE, 0xFF])])
    return bytes(made)


def of_pillow(encoded):
    """Returns the pixels, or why there are none."""
    try:
        with warnings.catch_warnings(action="ignore"):
            image = Image.open(io.BytesIO(encoded), formats=["JPEG", "PNG"])
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # of many kinds, ValueError and SyntaxError among them
        return f"{type(error).__name__}: {error}"


def compare_damaged(originals, count, seed, scratch):
    rng = random.Random(seed)
    contents = [file.read_bytes() for file in originals]
    folder = pathlib.Path(scratch, "damaged")
    folder.mkdir()
    cases, origins = [], []
    for i in range(count):
        which = rng.randrange(len(originals))
        cases.append(damaged(contents[which], rng))
        origins.append(originals[which])
        (folder / str(i)).write_bytes(cases[-1])
    command = [DUMP, "32", "32", scratch, *(str(folder / str(i)) for i in range(count))]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    verdicts, failed = collections.Counter(), False
    for i, (case, origin, line) in enumerate(zip(cases, origins, lines, strict=True)):
        expected = of_pillow(case)
        taken, ours_taken = not isinstance(expected, str), not line.startswith("bad ")
        verdicts[taken, ours_taken] += 1
        if taken and ours_taken:
            decoded = np.fromfile(f"{scratch}/{i}.decoded", np.uint8)
            good = list(expected.shape[:2]) == list(map(int, line.split()[:2])) and np.array_equal(decoded, expected.ravel())
        else:
            good = taken == ours_taken or not ours_taken and any(reason in line for reason in STRICTER)
        if not good:
            failed = True
            print(f"damage {i} of seed {seed} to {origin}: Pillow says {expected if not taken else expected.shape}, "
                  f"ours {line}")
    print(f"{count} damaged: {verdicts[True, True]} taken and {verdicts[False, False]} refused by both, "
          f"{verdicts[True, False]} refused where Pillow takes them")
    if count >= 100 and not verdicts[True, True] > count / 10 < verdicts[False, False]:
        sys.exit("expected both verdicts often: the damage is too heavy or too light")
    return failed


with tempfile.TemporaryDirectory() as scratch:
    made = pathlib.Path(scratch, "made")
    made.mkdir()
    real, generated = real_images(), made_images(made)
    failures = [compare(real + generated, short, long, scratch) for short, long in [(224, 384), (800, 1333)]]
    failures.append(compare_damaged(real[::20] + generated, DAMAGED, SEED, scratch))
sys.exit(any(failures))
