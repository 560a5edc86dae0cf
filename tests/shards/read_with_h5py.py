"""The Python example of data_shards/README.md reads what `pixelbert shard` writes, and the layout is as specified."""

import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

import h5py
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "data_shards" / "README.md").read_text()

# Of scenes, for each task.
ABSENT = {
    "pairs": ("texts/second_image", "texts/group", "answers/"),
    "vqa": ("texts/second_image", "answers/accuracy"),
    "nlvr2": "answers/accuracy",
}


def float32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def data_set(folder):
    """Two images with three captions each in COCO's form, and an image that is missing."""
    images, annotations = [], []
    for k in range(3):
        name = f"{k:012}.jpg"
        if k < 2:
            Image.new("RGB", (40 + k, 30), (90 * k, 10, 20)).save(folder / name)
        images.append({"id": 500 + k, "file_name": name})
        annotations += [{"id": 10 * k + n, "image_id": 500 + k, "caption": f"Ein Bär, {k} und {n}."} for n in range(3)]
    (folder / "captions.json").write_text(json.dumps({"images": images, "annotations": annotations}))


def vqa_set(folder):
    """A question about each of two images, with answers that the official evaluation treats differently than training."""
    questions = [{"question_id": k, "image_id": 500 + k, "question": "What?"} for k in range(2)]
    answers = [{"answer": answer} for answer in ["Yes.", "yes"] + ["no"] * 8]
    (folder / "questions.json").write_text(json.dumps({"questions": questions}))
    annotation = {"answer_type": "yes/no", "multiple_choice_answer": "no", "answers": answers}
    annotations = [{"question_id": k} | annotation for k in range(2)]
    (folder / "annotations.json").write_text(json.dumps({"annotations": annotations}))
    (folder / "answers.txt").write_text("no\nyes\n")


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def check_checksums(shards):
    """The manifest's checksums of columns and of other files are what the page says."""
    manifest = json.loads((shards / "manifest.json").read_text())
    for entry in manifest["files"]:
        with h5py.File(shards / entry["name"]) as shard:
            names = [f"{group}/{name}" for group in shard for name in shard[group] if name != "bytes"]
            found = {name: crc32c(shard[name][:].tobytes()) for name in names}
        assert entry["columns"] == found, f"expected {found}, found {entry['columns']}"
    others = {path.name for path in shards.iterdir()} - {"manifest.json"} - {file["name"] for file in manifest["files"]}
    expected = {name: {"bytes": len(content), "crc32c": crc32c(content)}
                for name in others for content in [(shards / name).read_bytes()]}
    assert manifest.get("other_files", {}) == expected, f"expected {expected}, found {manifest['other_files']}"


def check_layout(shards, absent):
    """Every data set of the page's table is there with its type, contiguous and unfiltered, and no other is."""
    table = PAGE.split("## A `.h5` file")[1].split("## Reading")[0]
    specified = {}
    for name_cell, type_cell in re.findall(r"^\| (`.*?) \| (.*?) \|", table, re.M):
        names, types = re.findall(r"`([a-z0-9_/]+)`", name_cell), type_cell.split(", ")
        specified |= {name: types[min(i, len(types) - 1)] for i, name in enumerate(names) if not name.startswith(absent)}
    found = {}
    for file in shards.glob("*.h5"):
        with h5py.File(file) as shard:
            assert shard.attrs["pixelbert_shard_version"] == 1
            for group in shard.values():
                for data in group.values():
                    assert data.chunks is None and data.compression is None and data.ndim == 1, data
                    found[data.name[1:]] = str(data.dtype)
    assert found == specified, f"expected {specified}, found {found}"
    check_checksums(shards)


with tempfile.TemporaryDirectory() as scratch:
    folder, shards = pathlib.Path(scratch), pathlib.Path(scratch, "shards")
    data_set(folder)
    command = [os.environ["PIXELBERT"], "shard", "coco", "--captions", folder / "captions.json"]
    subprocess.run([*command, "--images", folder, "--out", shards], check=True)
    check_layout(shards, ABSENT["pairs"])

    example = re.search(r"```python\n(.*?)```", PAGE, re.S).group(1)
    output = subprocess.run([sys.executable, "-c", example, shards], check=True, capture_output=True, text=True).stdout
    expected = "".join(f"{500 + k}\t({40 + k}, 30)\tEin Bär, {k} und {n}.\n" for k in range(2) for n in range(3))
    assert output == expected, f"expected\n{expected}\nfound\n{output}"

    manifest = json.loads((shards / "manifest.json").read_text())
    assert manifest["skipped"] == {"missing": 1}, manifest["skipped"]
    assert (manifest["images"], manifest["texts"]) == (2, 6)

    for task, absent in ABSENT.items():
        command = [os.environ["PIXELBERT"], "shard", "scenes", "--task", task, "--count", "20", "--out", folder / task]
        subprocess.run(command, check=True)
        check_layout(folder / task, absent)

    vqa_set(folder)
    command = [os.environ["PIXELBERT"], "shard", "vqa", "--questions", folder / "questions.json"]
    command += ["--annotations", folder / "annotations.json", "--answers", folder / "answers.txt"]
    command += ["--images", folder, "--image-pattern", "{image_id:012}.jpg", "--out", folder / "asked"]
    for k in range(2):
        (folder / f"{k:012}.jpg").rename(folder / f"{500 + k:012}.jpg")
    subprocess.run(command, check=True)
    check_layout(folder / "asked", "texts/second_image")
    with h5py.File(next((folder / "asked").glob("*.h5"))) as shard:
        columns = [shard["answers"][name][:2].tolist() for name in ("index", "score", "accuracy")]
    assert columns == [[0, 1], [1, float32(0.3)], [1, float32(0.6)]], columns
