"""Compares VQA's answers with Python's: normalisation, official accuracy, soft targets and the vocabulary.

The reference is written here from the rules of the official evaluation, with Python's own re and str, so that "what
Python does" is not a matter of opinion. Compared over every question of the shared data (ten raw answers, the majority
answer and some of the vocabulary as predictions) and over strings made of the characters in the rules.
"""

import functools
import gzip
import json
import os
import random
import re
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

DATA = Path(os.environ["PIXELBERT_SHARED_DATA"])
TOOL = sys.argv[1]
VOCABULARY = DATA / "vqa-answer-vocab" / "trainval_label2ans.json"
SKIPPED = 77

PUNCTUATION = list(";/[]\"{}()=+\\_-><@`,?!")
NUMBERS = dict(zip("none zero one two three four five six seven eight nine ten".split(), [0, *range(11)]))
CONTRACTIONS = dict(
    wrong_and_right.split("=")
    for wrong_and_right in """
aint=ain't arent=aren't cant=can't couldve=could've couldnt=couldn't couldn'tve=couldn't've couldnt've=couldn't've
didnt=didn't doesnt=doesn't dont=don't hadnt=hadn't hadnt've=hadn't've hadn'tve=hadn't've hasnt=hasn't havent=haven't
hed=he'd hed've=he'd've he'dve=he'd've hes=he's howd=how'd howll=how'll hows=how's Id've=I'd've I'dve=I'd've Im=I'm
Ive=I've isnt=isn't itd=it'd itd've=it'd've it'dve=it'd've itll=it'll let's=let's maam=ma'am mightnt=mightn't
mightnt've=mightn't've mightn'tve=mightn't've mightve=might've mustnt=mustn't mustve=must've neednt=needn't
notve=not've oclock=o'clock oughtnt=oughtn't ow's'at='ow's'at 'ows'at='ow's'at 'ow'sat='ow's'at shant=shan't
shed've=she'd've she'dve=she'd've she's=she's shouldve=should've shouldnt=shouldn't shouldnt've=shouldn't've
shouldn'tve=shouldn't've somebody'd=somebodyd somebodyd've=somebody'd've somebody'dve=somebody'd've
somebodyll=somebody'll somebodys=somebody's someoned=someone'd someoned've=someone'd've someone'dve=someone'd've
someonell=someone'll someones=someone's somethingd=something'd somethingd've=something'd've
something'dve=something'd've somethingll=something'll thats=that's thered=there'd thered've=there'd've
there'dve=there'd've therere=there're theres=there's theyd=they'd theyd've=they'd've they'dve=they'd've
theyll=they'll theyre=they're theyve=they've twas='twas wasnt=wasn't wed've=we'd've we'dve=we'd've weve=we've
werent=weren't whatll=what'll whatre=what're whats=what's whatve=what've whens=when's whered=where'd wheres=where's
whereve=where've whod=who'd whod've=who'd've who'dve=who'd've wholl=who'll whos=who's whove=who've whyll=why'll
whyre=why're whys=why's wont=won't wouldve=would've wouldnt=wouldn't wouldnt've=wouldn't've wouldn'tve=wouldn't've
yall=y'all yall'll=y'all'll y'allll=y'all'll yall'd've=y'all'd've y'alld've=y'all'd've y'all'dve=y'all'd've
youd=you'd youd've=you'd've you'dve=you'd've youll=you'll youre=you're youve=you've
""".split()
)


@functools.cache
def normalised(answer):
    out = answer
    comma_in_number = re.search(r"(\d)(\,)(\d)", answer) is not None
    for mark in PUNCTUATION:
        vanishes = mark + " " in answer or " " + mark in answer or comma_in_number
        out = out.replace(mark, "" if vanishes else " ")
    out = re.compile(r"(?!<=\d)(\.)(?!\d)").sub("", out, int(re.UNICODE))
    words = [str(NUMBERS.get(word, word)) for word in out.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ("a", "an", "the"))


def for_vocabulary(answer):
    return normalised(answer).replace(",", "")


def stripped(answer):
    return answer.replace("\n", " ").replace("\t", " ").strip()


def accuracies(predictions, answers):
    answers, predictions = [stripped(a) for a in answers], [stripped(p) for p in predictions]
    if len(set(answers)) > 1:
        answers, predictions = [normalised(a) for a in answers], [normalised(p) for p in predictions]
    scores = []
    for prediction in predictions:
        total = 0.0
        for i in range(len(answers)):
            others = answers[:i] + answers[i + 1 :]
            total += min(1.0, others.count(prediction) / 3)
        scores.append(total / len(answers))
    return scores


def float32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def targets(answers, vocabulary):
    """Returns every entry with a soft score or an accuracy, found the slow way: by trying each candidate."""
    close = {normalised(stripped(a)) for a in answers} | {stripped(a) for a in answers}
    candidates = sorted({row for form in close for row in vocabulary.rows.get(form, ())})
    exact = accuracies([vocabulary.entries[row] for row in candidates], answers)
    found = []
    for row, accuracy in zip(candidates, exact):
        score = (0, 0.3, 0.6, 0.9, 1)[min(4, answers.count(vocabulary.entries[row]))]
        if score or accuracy:
            found.append([row, float32(score), float32(accuracy)])
    return found


class Vocabulary:
    def __init__(self, entries):
        self.entries, self.rows = entries, {}
        for row, entry in enumerate(entries):
            for form in {entry, normalised(entry)}:
                self.rows.setdefault(form, []).append(row)


def run(lines, *arguments):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([TOOL, *arguments], input=text, capture_output=True, encoding="utf-8")
    if done.returncode:
        sys.exit(f"{TOOL} {arguments} failed: {done.stderr}")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert not lines or len(found) == len(lines), f"sent {len(lines)} lines, {len(found)} came back"
    return found


def report(name, cases, differences):
    print(f"{name}: {cases} compared, {len(differences)} different")
    for asked, expected, found in differences[:10]:
        shown = [str(value)[:400] for value in (asked, expected, found)]
        print(f" {shown[0]}\n  expected {shown[1]}\n  found    {shown[2]}", file=sys.stderr)
    return len(differences)


def compare_normalised(name, texts):
    found = run(texts, "normalise")
    expected = [[normalised(text), for_vocabulary(text)] for text in texts]
    return report(name, len(texts), [case for case in zip(texts, expected, found) if case[1] != case[2]])


def compare_scores(name, questions, vocabulary, vocabulary_file):
    """Questions: (ten answers, predictions)."""
    found = run([{"answers": a, "predictions": p} for a, p in questions], "score", str(vocabulary_file))
    expected = [{"accuracy": accuracies(p, a), "targets": targets(a, vocabulary)} for a, p in questions]
    differences = [case for case in zip(questions, expected, found) if case[1] != case[2]]
    predictions = sum(len(p) for _, p in questions)
    print(f"  {predictions} predictions, {sum(len(e['targets']) for e in expected)} targets")
    return report(name, len(questions), differences)


def load(path):
    with (gzip.open if path.suffix in (".gz", ".gzip") else open)(path, "rb") as file:
        return json.loads(file.read())


def compare_vocabulary(annotation_files):
    """Returns the most common answers of at least 9 questions each, in order of first appearance."""
    expected, questions = {}, set()
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = []
        for path in annotation_files:
            content = load(path)
            unpacked.append(Path(scratch, path.name + ".json"))
            unpacked[-1].write_text(json.dumps(content))
            for annotation in content["annotations"]:
                if annotation["question_id"] not in questions:
                    answer = for_vocabulary(annotation["multiple_choice_answer"])
                    expected[answer] = expected.get(answer, 0) + 1
                    questions.add(annotation["question_id"])
        found = run([], "frequent", *map(str, unpacked))[0]
    expected = [answer for answer, count in expected.items() if count >= 9]
    differences = [] if expected == found else [("vocabulary", expected[:20], found[:20])]
    return report(f"vocabulary of {len(questions)} questions", len(expected), differences), expected


SIGMAS = (0x3A3, 0x3C2, 0x3C3)  # only Python chooses the small sigma that ends a word
CHARACTERS = (
    [*PUNCTUATION, *PUNCTUATION, *"..,,''::%$#&*~|^ \t\n", *"     ", *"0123456789", *"aAbBzZ", "\u00a0", "\u3000", "\x1c"]
    + [chr(c) for c in (*range(0xC0, 0x180), *range(0x391, 0x3CA), *range(0x400, 0x460)) if chr(c).isalpha() and c not in SIGMAS]
    + list("٠١٢३४５６İıßﬁǅ日本한\u0301\u200b\u2028😀")
)
WORDS = [*NUMBERS, "a", "an", "the", "The", "A", "1,000", "2.5", "10", "u.s.a.", "t-shirt", "No.", *CONTRACTIONS, *CONTRACTIONS.values()]


def generated(count):
    rng = random.Random(7)
    yield from ("." * n for n in range(70))
    yield from ("a. " * n for n in range(70))
    yield from (f"{a}{mark}{b}" for mark in [*PUNCTUATION, "."] for a in ("", "a", "1", " ") for b in ("", "b", "2", " "))
    yield from WORDS
    for _ in range(count):
        parts = rng.choices((CHARACTERS, WORDS, [" "], list("0123456789,.")), (6, 3, 2, 2), k=rng.randint(1, 12))
        yield "".join(rng.choice(part) for part in parts)


def questions_of(annotations, vocabulary):
    """Predictions: the ten, the most common one, and three entries that depend on the question alone."""
    for annotation in annotations:
        answers = [answer["answer"] for answer in annotation["answers"]]
        rng = random.Random(annotation["question_id"])
        yield answers, [annotation["multiple_choice_answer"], *answers, *rng.sample(vocabulary.entries, 3)]


def generated_questions(count):
    """Few different answers to a question, so that some agree, in different spellings."""
    rng = random.Random(8)
    pool = [text for text in generated(2000) if text.strip()]
    for _ in range(count):
        some = rng.sample(pool, rng.randint(1, 3))
        some += [f" {some[0]}\n", some[0].upper(), normalised(some[0])][: rng.randint(0, 3)]
        answers = rng.choices(some, k=10) if rng.random() < 0.8 else [some[0]] * 10
        yield answers, [*some, normalised(some[0]), for_vocabulary(some[-1]), "yes"]


def main():
    if not VOCABULARY.is_file():
        print(f"no real data: expected {VOCABULARY}", file=sys.stderr)
        sys.exit(1 if os.environ.get("CI") == "true" else SKIPPED)
    vocabulary = Vocabulary(load(VOCABULARY))
    files = [DATA / "vqa-v2-text" / f"vqa_annotatons_{split}.gzip" for split in ("train", "valid")]
    text_only = [annotation for path in files for annotation in load(path)["annotations"]]
    assert len(text_only) == 57_029, len(text_only)
    with_images = load(DATA / "vqa-v2-with-images" / "v2_mscoco_train2014_annotations.json")["annotations"]

    different = compare_normalised("generated strings", list(generated(100_000)))
    real = sorted({answer["answer"] for a in text_only + with_images for answer in a["answers"]})
    different += compare_normalised("real answers", real)
    moved = [entry for entry in vocabulary.entries if for_vocabulary(entry) != entry]
    different += report("published vocabulary stays as it is", len(vocabulary.entries), [(e, e, for_vocabulary(e)) for e in moved])

    for name, annotations in (("questions with text only", text_only), ("questions with images", with_images)):
        different += compare_scores(name, list(questions_of(annotations, vocabulary)), vocabulary, VOCABULARY)
    missed, made = compare_vocabulary(files)
    different += missed
    with tempfile.TemporaryDirectory() as scratch:
        odd = Path(scratch, "odd.json")
        pool = {stripped(text).replace("\r", "") for text in generated(2000)}
        entries = sorted(pool | {normalised(text) for text in pool} | set(made))
        entries = [entry for entry in entries if entry == stripped(entry)]
        odd.write_text(json.dumps(entries))
        questions = list(generated_questions(20_000))
        different += compare_scores("generated questions", questions, Vocabulary(entries), odd)
    sys.exit(1 if different else 0)


main()
