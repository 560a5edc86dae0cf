"""loader_reference.py VOCABULARY WORKERS SHORT_SIDE LONG_SIDE PAIRS CAPTIONS:IMAGES...

Does the work of BatchLoader as usual with PyTorch: DataLoader, Pillow, torchvision, a fast tokenizer and
transformers' masking. Prints pairs/s of one thread (WORKERS 0) or one worker process (1) over PAIRS pairs (0: all).
CAPTIONS is COCO's captions file, or a Karpathy file; its split val is used.
"""

import json
import os
import random
import sys
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
from PIL import Image
from torchvision.transforms import functional
from transformers import BertTokenizerFast, DataCollatorForLanguageModeling

vocabulary, workers, short_side, long_side, pairs = sys.argv[1], *map(int, sys.argv[2:6])
torch.set_num_threads(1)
torch.manual_seed(1)
BATCH = 16


def read_pairs(captions, images):
    data = json.loads(Path(captions).read_text())
    if "annotations" in data:
        names = {image["id"]: image["file_name"] for image in data["images"]}
        return [(images / names[line["image_id"]], line["caption"]) for line in data["annotations"]]
    return [(images / image["filename"], sentence["raw"])
            for image in data["images"] if image["split"] == "val" for sentence in image["sentences"]]


class Pairs(torch.utils.data.Dataset):
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, text = self.samples[index]
        image = Image.open(path).convert("RGB")
        scale = min(long_side / max(image.size), short_side / min(image.size))
        image = image.resize([int(side * scale + 0.5) for side in image.size], Image.BILINEAR)
        pixels = functional.normalize(functional.to_tensor(image), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225],
                                      inplace=True)
        match = random.random() < 0.5
        return pixels, text if match else random.choice(self.samples)[1], match


class Collate:
    def __init__(self):
        self.tokenizer = BertTokenizerFast(vocab_file=vocabulary, do_lower_case=True)
        self.mask = DataCollatorForLanguageModeling(self.tokenizer, mlm_probability=0.15)

    def __call__(self, samples):
        images, texts, matches = zip(*samples)
        height, width = (max(image.shape[side] for image in images) for side in (1, 2))
        padded = torch.zeros(len(images), 3, height, width)
        for place, image in zip(padded, images):
            place[:, :image.shape[1], :image.shape[2]] = image
        encoded = self.tokenizer(list(texts), truncation=True, max_length=40, return_special_tokens_mask=True)
        rows = [dict(zip(encoded, row)) for row in zip(*encoded.values())]
        return padded, self.mask(rows), torch.tensor(matches, dtype=torch.float32)


samples = [pair for source in sys.argv[6:] for pair in read_pairs(*map(Path, source.split(":")))]
random.Random(1).shuffle(samples)
data = Pairs(samples)
chosen = list(range(pairs or len(samples)))
loader = torch.utils.data.DataLoader(data, BATCH, sampler=chosen, collate_fn=Collate(), num_workers=workers)
start = time.perf_counter()
done = sum(len(matches) for _, _, matches in loader)
print(f"{done / (time.perf_counter() - start):.3f}")
