#!/usr/bin/env python3
"""Proves that the tests notice each line that synchronises.

    lines.py SOURCE OUT       writes a copy in which PIXELBERT_REMOVED_LINE=N leaves line N out, and 0 none
    lines.py --test PROGRAM   runs each line's test in PROGRAM without the line; all must fail. Not for the locks
    lines.py --races PROGRAM  runs a PROGRAM with ThreadSanitizer without each line of RACES; it must report a race
"""
import os
import pathlib
import re
import subprocess
import sys

LOCK = "const std::lock_guard lock(mutex_);"
SUMS, LOST, BARRIER = "*ReducesEveryTypeAndOperation", "*NoticesALostRank", "*HoldsTheHostInABarrierThatFails"
MOVES, COPY = "*MovesTensorsBetweenTwoRanks", "*TheModelWaitsForTheCopy"
# What begins a line, each as often as it is in the source; and the test that fails without it.
LINES = {"nccl_communicator.cpp": [
    ("communicator_.throw_if_failed();", LOST),              # wait() after a failure
    ("done_->block(", SUMS),                                 # the reader waits for the sum
    ("if (std::uncaught_exceptions() == 0", "*EndsOnlyWhenTheOthersHaveWhatItSent"),
    ("done->block(", "*BroadcastsFromEveryRank"),            # the reader waits for a broadcast,
    ("done->block(", MOVES),                                 # after a send
    ("done->block(", MOVES),                                 # and after a receive
    ("while (!done->query()) {", "*HoldsTheHostInABarrier*"),  # a barrier waits
    ("throw_if_failed();  // an aborted collective", BARRIER),  # a barrier that fails
    (LOCK, None),                                            # the watchdog waits for a call
    ("if (!failure_.empty()) throw Error(failure_);", LOST),  # a call after a failure
    ("ready.block(stream_);", SUMS),                         # NCCL waits for the writer
    ("c10::cuda::CUDACachingAllocator::recordStream(", "*KeepsMemoryUntilItHasBeenUsed"),
    ("while (true) {", SUMS),                                # a call has put its kernel on the stream
    ("if (!failure_.empty()) throw Error(failure_);", LOST),  # check() after a failure
    (LOCK, None),                                            # the watchdog looks between calls
    ("comm_.reset();", BARRIER),                             # a lost rank's collective is ended; a hang without it
], "device_copies.cpp": [
    ("copied_->block(reader);", COPY),                       # the model waits for the copy
    ("batch.used_on(reader);", "*ACopyDoesNotOverwriteWhatTheModelHasNotRead"),
    ("guard(stream_);", "*ACopyDoesNotWaitForTheModel"),      # copies have a stream of their own
    ("if (stream_) copied_->record(", COPY),                 # there is something to wait for
]}
NUMBERED = [(number, source, *line) for number, (source, line) in
            enumerate(((source, line) for source, lines in LINES.items() for line in lines), 1)]

# Without some of them ThreadSanitizer must report a race, in these tests.
RACES = {
    "done_->block(": "*SameBits*",
    LOCK: "*SameBits*",
    "ready.block(stream_);": "*SameBits*",
    "c10::cuda::CUDACachingAllocator::recordStream(": "*KeepsMemory*",
    "copied_->block(reader);": "DeviceCopies*",
    "batch.used_on(reader);": "DeviceCopies*",
    "if (stream_) copied_->record(": "DeviceCopies*",
}


def copy(source, out):
    text, at = pathlib.Path(source).read_text(), 0
    for number, of, line, _ in NUMBERED:
        if of != pathlib.Path(source).name:
            continue
        found = text.find(line, at)
        if found < 0:
            sys.exit(f"{source}: expected a line with '{line}' after the one before it in lines.py")
        kept = f"kept({number})"
        new = re.sub(r"^while \((.*)\) \{$", rf"while ({kept} && (\1)) {{", line)
        new = re.sub(r"^const std::lock_guard lock\((.*?)\);", rf"const auto lock = lock_if({kept}, \1);", new)
        new = re.sub(r"^guard\((.*)\);", rf"guard({kept} ? \1 : decltype(\1)());", new)
        if new == line:
            new = f"if ({kept}) {line}"
        text = text[:found] + new + text[found + len(line):]
        at = found + len(new)
    pathlib.Path(out).write_text('#include "tests/simulated_cuda/kept.h"\n' + text)


def run(program, number, timeout, *arguments, **environment):
    command = [*program, "--gtest_brief=1", *arguments]
    return subprocess.run(command, timeout=timeout, capture_output=True, text=True,
                          env=dict(os.environ, PIXELBERT_REMOVED_LINE=str(number), **environment))


def test(program):
    if (code := run([program], 0, 300, "--gtest_fail_fast").returncode) != 0:
        sys.exit(f"with all lines: expected exit code 0, found {code}")
    missed = []
    for number, _, line, noticed_by in NUMBERED:
        if not noticed_by:
            continue
        # Its own test; on a busy machine that may be lucky, and then all of them.
        for tests, seconds in ((noticed_by, 20), ("*", 60)):
            try:
                code = run([program], number, seconds, "--gtest_fail_fast", f"--gtest_filter={tests}").returncode
            except subprocess.TimeoutExpired:
                code = "a hang"
            print(f"without line {number}, {line}, {tests}: {code}", flush=True)
            if code != 0:
                break
        else:
            missed.append(line)
    if missed:
        sys.exit(f"no test noticed that these are missing: {missed}")


def races(program):
    # GCC 12's ThreadSanitizer does not start among addresses with more than 28 random bits. Containers may forbid to
    # ask for others; they mostly have few.
    fixed = ["setarch", "-R"]
    program = [*(fixed if subprocess.run([*fixed, "true"]).returncode == 0 else []), program]
    options = f"suppressions={pathlib.Path(__file__).with_name('threads.supp')} exitcode=66"
    whole = run(program, 0, 300, TSAN_OPTIONS=options)
    if whole.returncode != 0:
        sys.exit(f"{whole.stdout}{whole.stderr}\nwith all lines: expected exit code 0, found {whole.returncode}")
    missed = list(set(RACES) - {line for _, _, line, _ in NUMBERED})
    for number, _, line, _ in NUMBERED:
        if line not in RACES:
            continue
        try:
            part = run(program, number, 60, f"--gtest_filter={RACES[line]}", TSAN_OPTIONS=f"{options} halt_on_error=1")
            found = "a race" if "WARNING: ThreadSanitizer: data race" in part.stderr else "nothing"
        except subprocess.TimeoutExpired:
            found = "a hang"
        print(f"without line {number}, {line}: {found}", flush=True)
        if found != "a race":
            missed.append(line)
    if missed:
        sys.exit(f"ThreadSanitizer did not report that these are missing: {missed}")


if sys.argv[1] == "--test":
    test(sys.argv[2])
elif sys.argv[1] == "--races":
    races(sys.argv[2])
else:
    copy(*sys.argv[1:])
