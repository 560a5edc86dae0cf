"""The pages say nothing that is not there: links lead somewhere, commands and options exist."""

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = [page for page in ROOT.rglob("*.md")
         if not page.relative_to(ROOT).parts[0].startswith((".deps", "build", "runs"))]
PROGRAMS = {"benchmarks", "launch", "monitoring", "slurm", "tests", "tools"}  # folders with some
problems = []


def check_links(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if not target.startswith("http") and not (page.parent / target).exists():
            problems.append(f"{page.relative_to(ROOT)}: link to {target}")


def check_programs(page):
    """What a page calls, in a block or in a sentence: the first word of a command, when it is a path of ours."""
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


def check_command(page, words):
    name = words[:2] if words[0] == "shard" else words[:1]
    done = subprocess.run([os.environ["PIXELBERT"], *name, "--help"], capture_output=True, text=True)
    if done.returncode != 0:
        problems.append(f"{page.relative_to(ROOT)}: pixelbert {' '.join(name)}: {done.stderr}")
    known = set(re.findall(r"--([\w.-]+)", done.stdout))
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
if checked < 10:
    problems.append(f"expected at least 10 commands on {len(PAGES)} pages, found {checked}")
print("\n".join(problems) or f"{len(PAGES)} pages, {checked} commands")
sys.exit(1 if problems else 0)
