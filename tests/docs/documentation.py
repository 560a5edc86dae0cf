"""Checks that the pages mention only what exists: links and their headings, pages named in code, programs, commands, options."""

import functools
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUTSIDE = (".deps", ".git", "build", "runs")  # not part of the sources
FILES = [path for top in ROOT.iterdir() if not top.name.startswith(OUTSIDE) for path in (top, *top.rglob("*"))]
PAGES = [path for path in FILES if path.suffix == ".md"]
PROGRAMS = {"benchmarks", "launch", "monitoring", "slurm", "tests", "tools"}  # folders with some
problems = []


def anchors(page):
    """The names under which GitHub links to a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_links(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)]*)\)", page.read_text()):
        linked = page.parent / target if target else page
        if target.startswith("http"):
            continue
        if not linked.exists() or (anchor and anchor not in anchors(linked)):
            problems.append(f"{page.relative_to(ROOT)}: link to {target}{'#' * bool(anchor)}{anchor}")


def check_pages_named_in(path):
    """Pages that code, scripts and rules name by their path from the root."""
    for name in re.findall(r"\b((?:docs|launch|monitoring|slurm|data_shards|benchmarks)/[\w/.-]+\.md)\b", path.read_text()):
        if not (ROOT / name).exists():
            problems.append(f"{path.relative_to(ROOT)}: names {name}")


def check_programs(page):
    """The programs that a page calls, in a block or in a sentence: first words of commands that are paths in this tree."""
    text = page.read_text()
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.S))
    calls = [line.split()[0] for line in blocks.splitlines() if line.strip()]
    calls += re.findall(r"(?<!`)`([^`\s]+\.(?:py|sh)) [^`]+`(?!`)", text)
    for call in calls:
        folder = call.removeprefix("./").split("/")[0]
        if folder in PROGRAMS and not os.access(ROOT / call, os.X_OK):
            problems.append(f"{page.relative_to(ROOT)}: {call} is no program, or may not be executed")


def commands(page):
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = line.split("#")[0].split()
            if "pixelbert" in words:
                yield words[words.index("pixelbert") + 1:]


@functools.cache
def options_of(name):
    """The options that a command's --help lists; None if there is no such command."""
    done = subprocess.run([os.environ["PIXELBERT"], *name, "--help"], capture_output=True, text=True)
    return set(re.findall(r"--([\w.-]+)", done.stdout)) if done.returncode == 0 else None


def check_command(page, words):
    name = tuple(words[:2] if words[0] == "shard" else words[:1])
    known = options_of(name)
    if known is None:
        problems.append(f"{page.relative_to(ROOT)}: no command pixelbert {' '.join(name)}")
        return
    for word in words:
        option = re.fullmatch(r"--([\w.-]+)(=.*)?", word)
        if option and option[1] not in known:
            problems.append(f"{page.relative_to(ROOT)}: pixelbert {' '.join(name)} has no option --{option[1]}")


checked = 0
for page in PAGES:
    check_links(page)
    check_programs(page)
    for words in commands(page):
        check_command(page, words)
        checked += 1
for path in FILES:
    if path.suffix in (".h", ".cpp", ".cu", ".py", ".sh", ".sbatch", ".yml", ".ini", ".lib", ".html", ".cmake", ".txt", ".md"):
        check_pages_named_in(path)
for image in (ROOT / "docs" / "images").iterdir():
    if image.stat().st_size > 200_000:
        problems.append(f"{image.relative_to(ROOT)}: {image.stat().st_size} bytes, expected at most 200,000")
if checked < 10:
    problems.append(f"expected at least 10 commands on {len(PAGES)} pages, found {checked}")
print("\n".join(problems) or f"{len(PAGES)} pages, {checked} commands")
sys.exit(1 if problems else 0)
