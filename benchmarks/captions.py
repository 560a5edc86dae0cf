"""Reads images and captions of scenes from a shard folder, for attention.py and words.py."""

import h5py

WORDS = {"colour": "red yellow green cyan blue purple white black".split(),
         "shape": "circle square triangle star cross heart ring diamond".split(),
         "size": "small medium large".split()}


def captioned_pictures(folder, count):
    """Returns (JPEG, captions) of the first scenes."""
    with h5py.File(folder / "shard-00000.h5") as file:
        images, texts = file["images"], file["texts"]
        for image in range(count):
            begin, length = images["offset"][image], images["length"][image]
            captions = [bytes(texts["bytes"][texts["offset"][t]:texts["offset"][t] + texts["length"][t]]).decode()
                        for t in range(*images["first_text"][image:image + 2])]
            yield bytes(images["bytes"][begin:begin + length]), captions
