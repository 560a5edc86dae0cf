"""Compares our WordPiece with Hugging Face tokenizers: the same ids for every available text and every code point.

The texts: all captions and questions of the shared data; each assigned code point inside a word, alone and beside a
combining mark; and keyed random mixes of the characters that tokenizers treat specially.
"""

import gzip
import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

from tokenizers import Tokenizer

DATA = Path(os.environ["PIXELBERT_SHARED_DATA"])
VOCABULARY = DATA / "bert-base-uncased-vocab"
TOOL = Path(os.environ["PIXELBERT_BUILD"]) / "bin" / "tokenize_texts"
MAX_TOKENS = 128
SKIPPED = 77


def real_texts():
    def load(name):
        path = DATA / name
        return json.loads((gzip.open if path.suffix in (".gz", ".gzip") else open)(path, "rb").read())

    yield from (a["caption"] for a in load("coco-train2017/captions_train2017.json")["annotations"])
    for line in (DATA / "flickr8k/captions.token.txt").read_text(encoding="utf-8").splitlines():
        yield line.split("\t", 1)[1]
    for name in (
        "vqa-v2-text/vqa_questions_train.gzip",
        "vqa-v2-text/vqa_questions_valid.gzip",
        "easy-vqa/OpenEnded_easyvqa_train_questions.json.gz",
        "vqa-v2-with-images/v2_OpenEnded_mscoco_train2014_questions.json",
    ):
        yield from (q["question"] for q in load(name)["questions"])
    for line in (DATA / "nlvr2-text/dev.first400.jsonl").read_text(encoding="utf-8").splitlines():
        yield json.loads(line)["sentence"]


def code_points():
    """Every code point except the surrogates, which no UTF-8 text can hold; also unassigned ones."""
    for c in range(0x110000):
        if not 0xD800 <= c < 0xE000:
            yield f"walk{chr(c)}ing {chr(c)} e{chr(c)}\u0301"


SPECIAL = ["[MASK]", "[SEP]", "[CLS]", "[PAD]", "[UNK]", "[mask]", "[MASK", "MASK]", "[[MASK]]", "##ing", "[]", "[ MASK ]"]
WORDS = ["dog", "Straße", "İSTANBUL", "ΣΊΣΥΦΟΣ", "naïve", "cafe\u0301", "don't", "U.S.A.", "3,000", "한국어", "日本", "ﬁn", "Ǆ", "ʼn"]
CHARACTERS = (
    [chr(c) for c in range(0x250)]
    + [chr(c) for c in (*range(0x300, 0x370), *range(0x2000, 0x2070), *range(0x3000, 0x3040), 0x85, 0xA0, 0xAD, 0xFEFF)]
    + list("가각힣\u1100\u1161\u11a8\u302e中㐀䶿一鿿豈﫿\U00020000\U0002a6df\U0002a700\U0002b81f\U0002b820\U0002b91f")
    + list("\U0002b920\U0002ceaf\U0002ceb0\U0002f800\U0002fa1f\U0002fa20😀👩\u200d👧🏽\U0001f1eb\U0001f1f7\ufe0f\ue000\U0010fffd")
    + list("Ωά\u0345\u0390ﷺ\u1fef\u037e\u0958\u09dc\u0f43\ufb1d\u2126\u212a\u212b\ufffd\ufffe\uffff\u166d\u1734\U000111c9")
)


def edge_cases():
    yield from ("", " ", "\t\n\r", "\0", "a" * 99, "a" * 100, "a" * 101, "ä" * 100, "a\u0301" * 100, "a\u0301" * 101)
    yield from ("x" * 10_000, "a " * 10_000, "[" * 10_000, "日" * 10_000, "\u0301" * 10_000, "dog." * 3_000)
    yield from ("한국어", "\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165")
    for n in range(95, 106):
        yield from ("é" * n, "walking" + "s" * n, "." * n, "q" * n + "!", "中" * n, "ﬁ" * n, "a" * n + "\u0301")
    rng = random.Random(20)
    for _ in range(60_000):
        parts = rng.choices((CHARACTERS, WORDS, SPECIAL, [" "], "abcXYZ0189.,-"), (4, 2, 1, 2, 4), k=rng.randint(1, 24))
        yield "".join(rng.choice(part) for part in parts)
    for _ in range(20_000):
        yield "".join(chr(c) for c in (rng.randrange(0x20000) for _ in range(rng.randint(1, 12))) if not 0xD800 <= c < 0xE000)


def ours(texts, max_tokens):
    encoded = [text if isinstance(text, bytes) else text.encode() for text in texts]
    stdin = b"".join(struct.pack("<I", len(text)) + text for text in encoded)
    done = subprocess.run(
        [TOOL, VOCABULARY / "vocab.txt", str(max_tokens)], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    if done.returncode:
        sys.exit(f"{TOOL} failed: {done.stderr.decode()}")
    print(" ", done.stderr.decode().strip())
    return [[int(i) for i in line.split()] for line in done.stdout.decode().splitlines()]


def compare(name, texts, max_tokens=MAX_TOKENS, sent=None):
    """`sent` holds the bytes for our tokenizer if they are not simply the text in UTF-8."""
    tokenizer = Tokenizer.from_file(str(VOCABULARY / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    mine = ours(sent or texts, max_tokens)
    assert len(mine) == len(texts), f"{name}: sent {len(texts)} texts, {len(mine)} came back"
    different, tokens = 0, 0
    for first in range(0, len(texts), 50_000):
        chunk = texts[first : first + 50_000]
        for text, encoding, found in zip(chunk, tokenizer.encode_batch_fast(chunk), mine[first:]):
            tokens += len(found)
            if encoding.ids != found:
                different += 1
                if different <= 10:
                    expected = [tokenizer.id_to_token(i) for i in encoding.ids]
                    print(f"{name}: {text!r} {[hex(ord(c)) for c in text]}\n expected {expected}", file=sys.stderr)
                    print(f" found    {[tokenizer.id_to_token(i) for i in found]}", file=sys.stderr)
    print(f"{name}: {len(texts)} texts, {tokens} tokens, {different} different")
    return different


def main():
    if not VOCABULARY.is_dir():
        print(f"no real data: expected {VOCABULARY}", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") == "true" else SKIPPED)
    texts = list(real_texts())
    assert len(texts) > 60_000, f"expected more than 60,000 captions and questions, found {len(texts)}"
    different = compare("captions and questions", texts)
    different += compare("the same cut to 16 tokens", texts, 16)
    different += compare("edge cases", list(edge_cases()))
    different += compare("edge cases cut to 5 tokens", list(edge_cases()), 5)
    different += compare("every code point", list(code_points()))

    # Python replaces damaged bytes of a text by U+FFFD; both tokenizers drop that.
    rng = random.Random(21)
    broken = [bytes(rng.choices(b"ab \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xed\xa0\xff[MASK]", k=12)) for _ in range(20_000)]
    different += compare("invalid UTF-8", [text.decode(errors="replace") for text in broken], sent=broken)
    sys.exit(1 if different else 0)


main()
