#!/usr/bin/env python3
"""Draws the folders of src/ into docs/architecture.md, from the link lines of src/CMakeLists.txt.

    architecture.py          fails if the page has another drawing, or if its list of folders is not that of src/
    architecture.py --fix    writes the drawing into the page
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- drawn by tests/docs/architecture.py --fix -->\n", "<!-- end of the drawing -->\n"


def links(cmake):
    """folder -> the folders that it links to, transitively or not."""
    lines = dict(re.findall(r"^pb_library\((\w+)\s*([^)]*)\)", cmake, re.M))
    for target, folder in [("pixelbert-program", "apps"), ("pixelbert_cuda", "cuda")]:
        lines[folder] = " ".join(re.findall(rf"^\s*target_link_libraries\({target} ([^)]*)\)", cmake, re.M))
    return {folder: set(re.findall(r"\bpb_(\w+)", line)) for folder, line in lines.items()}


def below(folder, graph):
    """All folders that can be reached from `folder`."""
    return set().union(*({lower} | below(lower, graph) for lower in graph[folder]))


def drawing(graph):
    """A Mermaid flowchart without the arrows that follow from others, and without the folders that all others use."""
    used_by_all = {folder for folder in graph if all(folder in below(other, graph) for other in graph if other != folder)}
    lines = ["```mermaid", "flowchart TB"]
    for folder in sorted(graph, key=lambda one: (-len(below(one, graph)), one)):
        through_others = set().union(*(below(lower, graph) for lower in graph[folder]))
        direct = sorted(graph[folder] - through_others - used_by_all)
        if direct:
            lines.append(f"  {folder} --> {' & '.join(direct)}")
    lines += ["  comm -. loads at run time .-> cuda", "```"]
    return "\n".join(lines) + "\n"


def main():
    graph = links((ROOT / "src" / "CMakeLists.txt").read_text())
    folders = {path.name for path in (ROOT / "src").iterdir() if path.is_dir()}
    problems = []
    if set(graph) != folders:
        problems.append(f"src/CMakeLists.txt links {sorted(graph)}, src/ holds {sorted(folders)}")
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    block, after = rest.split(END)
    if block != drawing(graph):
        if "--fix" in sys.argv:
            PAGE.write_text(before + BEGIN + drawing(graph) + END + after)
        else:
            problems.append("docs/architecture.md: the drawing of the folders is out of date: tests/docs/architecture.py --fix")
    listed = re.findall(r"^\| \[(\w+)\]\(\.\./src/\w+\) \|", page, re.M)
    if sorted(listed) != sorted(folders):
        problems.append(f"docs/architecture.md: missing in the list of folders: {sorted(folders - set(listed))}, "
                        f"not in src/: {sorted(set(listed) - folders)}, or one is listed twice")
    print("\n".join(problems) or f"{len(folders)} folders")
    sys.exit(1 if problems else 0)


main()
