#!/usr/bin/env python3
"""Proves that the tests notice each line that synchronises.

    lines.py SOURCE OUT       writes a copy in which PIXELBERT_REMOVED_LINE=N leaves line N out, and 0 none
    lines.py --test PROGRAM   runs the tests in PROGRAM with each line left out; all must fail
"""
import os
import pathlib
import re
import subprocess
import sys
import time

# What begins a line; each as often as it is in the source.
LINES = {"nccl_communicator.cpp": [
    "communicator_.throw_if_failed();",              # wait() after a failure
    "done_->block(",                                 # the reader waits for the sum
    "if (std::uncaught_exceptions() == 0",           # the others have what was sent
    "done->block(",                                  # the reader waits for a broadcast,
    "done->block(",                                  # after a send
    "done->block(",                                  # and after a receive
    "while (!done->query()) {",                      # a barrier waits
    "throw_if_failed();  // an aborted collective",  # a barrier that fails
    "if (!failure_.empty()) throw Error(failure_);",  # a call after a failure
    "ready.block(stream_);",                         # NCCL waits for the writer
    "c10::cuda::CUDACachingAllocator::recordStream(",  # memory is kept
    "while (true) {",                                # a call has put its kernel on the stream
    "if (!failure_.empty()) throw Error(failure_);",  # check() after a failure
    "comm_.reset();",                                # a lost rank's collective is ended
], "device_copies.cpp": [
    "copied_->block(reader);",                       # the model waits for the copy
    "batch.used_on(reader);",                        # memory is kept until the model has read it
    "if (stream_) copied_->record(",                 # there is something to wait for
]}
NUMBERED = [(number, source, line) for number, (source, line) in
            enumerate(((source, line) for source, lines in LINES.items() for line in lines), 1)]


def copy(source, out):
    text, at = pathlib.Path(source).read_text(), 0
    for number, of, line in NUMBERED:
        if of != pathlib.Path(source).name:
            continue
        found = text.find(line, at)
        if found < 0:
            sys.exit(f"{source}: expected a line with '{line}' after the one before it in lines.py")
        kept = f"kept({number})"
        new = re.sub(r"^while \((.*)\) \{$", rf"while ({kept} && (\1)) {{", line)
        if new == line:
            new = f"if ({kept}) {line}"
        text = text[:found] + new + text[found + len(line):]
        at = found + len(new)
    switch = """#include <cstdlib>
static bool kept(int line) {
  static const char* removed = std::getenv("PIXELBERT_REMOVED_LINE");
  return !removed || std::atoi(removed) != line;
}
"""
    pathlib.Path(out).write_text(switch + text)


def run(program, number, timeout):
    return subprocess.run([program, "--gtest_brief=1", "--gtest_fail_fast"], timeout=timeout, capture_output=True,
                          env=dict(os.environ, PIXELBERT_REMOVED_LINE=str(number))).returncode


def test(program):
    start = time.monotonic()
    if (code := run(program, 0, 300)) != 0:
        sys.exit(f"with all lines: expected exit code 0, found {code}")
    timeout = max(20, 5 * (time.monotonic() - start))
    missed = []
    for number, _, line in NUMBERED:
        try:
            code = run(program, number, timeout)
        except subprocess.TimeoutExpired:
            code = "a hang"
        print(f"without line {number}, {line}: {code}", flush=True)
        if code == 0:
            missed.append(line)
    if missed:
        sys.exit(f"no test noticed that these are missing: {missed}")


if sys.argv[1] == "--test":
    test(sys.argv[2])
else:
    copy(*sys.argv[1:])
