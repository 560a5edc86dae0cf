#!/usr/bin/env python3
"""Checks every #include in src/ against the link lines of src/CMakeLists.txt, which state the order of the folders.

A folder may include itself, the folders it links to (directly or through them), and the outside libraries on its own
link line or handed up by PUBLIC ones. So a lower folder never includes a higher one or a sibling, and the headers of
MPI, HDF5, Boost and the like stay inside the folder that wraps them. A
link that no #include uses is refused.

    layering.py           checks src/, and proves on a small bad tree that it can fail
    layering.py FOLDER    checks FOLDER with its CMakeLists.txt
"""
import pathlib
import re
import sys
import tempfile

# First match counts: the headers of an outside library, and the target that stands for it on a link line.
LIBRARIES = [
    (r"mpi(-ext)?\.h", "MPI::MPI_CXX"),
    (r"nccl\.h", "nccl"),
    (r"hdf5(_hl)?\.h|H5.*\.h", "hdf5::hdf5"),
    (r"prometheus/.*", "prometheus-cpp::pull"),
    (r"boost/.*", "Boost::program_options"),
    (r"nlohmann/.*", "nlohmann_json::nlohmann_json"),
    (r"(spdlog|fmt)/.*", "spdlog::spdlog"),
    (r"(torch/csrc/cuda|ATen/cuda|c10/cuda|cuda).*", "torch::cuda"),
    (r"(torch|ATen|c10)/.*", "torch::cpu"),
    (r"cairo.*\.h", "PkgConfig::cairo"),
    (r"turbojpeg\.h", "PkgConfig::turbojpeg"),
    (r"jpeglib\.h|jerror\.h", "JPEG::JPEG"),
    (r"png\.h", "PNG::PNG"),
    (r"utf8proc\.h", "PkgConfig::utf8proc"),
    (r"isa-l/.*", "PkgConfig::isal"),
]
# The plug-in is handed communicators, and is loaded into a program that has the rest.
PLUG_IN = {"cuda": {"pb_core", "pb_comm", "torch::cuda", "torch::cpu", "nccl", "spdlog::spdlog"}}


def link_lines(cmake):
    """folder -> (what it links to, what of that it hands up)"""
    lines = {}
    for folder, rest in re.findall(r"^pb_library\((\w+)\s*([^)]*)\)", cmake, re.M):
        public, _, private = rest.partition("PRIVATE")
        lines[folder] = (set(public.split()) | set(private.split()), set(public.split()))
    program = re.search(r"^target_link_libraries\(pixelbert-program PRIVATE ([^)]*)\)", cmake, re.M)
    if program:
        lines["apps"] = (set(program[1].split()), set())
    return lines


def allowed(folder, lines):
    """The targets whose headers `folder` may include."""
    if folder in PLUG_IN:
        return PLUG_IN[folder]
    targets, todo = set(), set(lines[folder][0])
    while todo:
        target = todo.pop()
        if target.startswith("pb_") and target not in targets:
            todo |= lines[target[3:]][1]
        targets.add(target)
    return targets


def target_of(included, src):
    """The target that an #include of `included` needs: a folder's, an outside library's, or None."""
    first = included.partition("/")[0]
    if "/" in included and (src / first).is_dir():
        return f"pb_{first}"
    return next((target for header, target in LIBRARIES if re.fullmatch(header, included)), None)


def problems_in(src):
    lines = link_lines((src / "CMakeLists.txt").read_text())
    problems, checked = [], 0
    used = {folder: set() for folder in lines}  # the targets that its #includes need
    for path in sorted(p for p in src.rglob("*") if p.suffix in (".h", ".cpp", ".cu")):
        folder = path.relative_to(src).parts[0]
        if folder not in lines and folder not in PLUG_IN:
            problems.append(f"{folder}/ has no pb_library line in {src}/CMakeLists.txt")
            continue
        targets = allowed(folder, lines)
        text = path.read_text()
        for number, line in enumerate(text.splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
            if not found:
                continue
            checked += 1
            included, target = found[1], target_of(found[1], src)
            used.setdefault(folder, set()).add(target)
            if target and target != f"pb_{folder}" and target not in targets:
                problems.append(f"{path.relative_to(src)}:{number}: {folder} may not include {included}: "
                                f"it does not link to {target}")
        if path.suffix == ".h" and "#pragma once" not in text:
            problems.append(f"{path.relative_to(src)}: no #pragma once")
    checkable = {target for _, target in LIBRARIES} | {f"pb_{folder}" for folder in lines}
    for folder, (linked, _) in sorted(lines.items()):
        for target in sorted(linked & checkable - used[folder]):
            problems.append(f"CMakeLists.txt: {folder} links to {target}, but includes nothing of it")
    if not checked:
        problems.append(f"no #include found in {src}: expected the source tree")
    return problems


BAD_TREE = {
    "CMakeLists.txt": """
pb_library(core)
pb_library(comm pb_core torch::cpu PRIVATE MPI::MPI_CXX)
pb_library(shards pb_core PRIVATE hdf5::hdf5)
pb_library(train pb_comm
  pb_shards)
pb_library(plan pb_comm pb_shards)
pb_library(optim pb_core torch::cpu)
target_link_libraries(pixelbert-program PRIVATE pb_train)
""",
    "core/low.h": '#pragma once\n#include "comm/communicator.h"\n',  # a lower folder includes a higher one
    "comm/communicator.h": '#pragma once\n#include <mpi.h>\n#include <torch/types.h>\n#include "core/low.h"\n',
    "shards/reader.cpp": '#include <hdf5.h>\n#include "comm/communicator.h"\n#include "core/low.h"\n',  # a sibling
    "shards/tensor.cpp": "#include <ATen/ATen.h>\n",  # a library it does not link to
    "train/loop.h": '#pragma once\n#include "shards/reader.h"\n#include "core/low.h"\n#include <torch/types.h>\n',
    "train/loop.cpp": '#include "comm/communicator.h"\n#  include <hdf5.h>\n',  # a library that another folder wraps
    "train/again.h": '#include "train/loop.h"\n',  # no #pragma once
    "apps/main.cpp": '#include "core/low.h"\n#include <mpi.h>\n',  # likewise; and nothing of train
    "plan/memory.cpp": '#include "shards/reader.h"\n',  # nothing of comm
    "optim/rates.cpp": '#include "core/low.h"\n',  # nothing of torch
    "extra/new.cpp": "#include <vector>\n",  # no link line
    "cuda/nccl.cpp": '#include <nccl.h>\n#include "comm/communicator.h"\n#include "train/loop.h"\n',  # above the plug-in
}
BAD_LINES = ["CMakeLists.txt: apps links to pb_train", "CMakeLists.txt: optim links to torch::cpu",
             "CMakeLists.txt: plan links to pb_comm", "apps/main.cpp:2", "core/low.h:2", "cuda/nccl.cpp:3", "extra/",
             "shards/reader.cpp:2", "shards/tensor.cpp:1", "train/again.h: no #pragma once", "train/loop.cpp:2"]


def prove_it_can_fail():
    with tempfile.TemporaryDirectory() as folder:
        src = pathlib.Path(folder)
        for name, content in BAD_TREE.items():
            (src / name).parent.mkdir(exist_ok=True)
            (src / name).write_text(content)
        found = sorted(problems_in(src))
    if len(found) != len(BAD_LINES) or not all(map(str.startswith, found, BAD_LINES)):
        sys.exit("on the bad tree expected one problem for each of\n  " + "\n  ".join(BAD_LINES) +
                 "\nfound\n  " + "\n  ".join(found))


def main():
    if len(sys.argv) == 1:
        prove_it_can_fail()
    src = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[2] / "src"
    problems = problems_in(src)
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


main()
