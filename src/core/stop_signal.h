// Requests to stop become a flag that the training loop asks for: a global, because a signal handler can reach nothing
// else.
//
// SIGTERM and SIGUSR1 are a scheduler's, SIGINT is Ctrl-C. A second Ctrl-C ends the process at once. The program begins
// with all three blocked (apps/begin.c), so that none is lost before there is a handler.
#pragma once

namespace pixelbert {

constexpr int kStoppedOnRequest = 75;  // exit code: run me again

void catch_stop_signals();    // for commands that end with kStoppedOnRequest
void unblock_stop_signals();  // for all, after catch_stop_signals(): those that came meanwhile arrive now
bool stop_signalled();

// For work that has nothing to save: thrown where it may end.
struct StopRequested {};
void end_when_stop_signalled();

}  // namespace pixelbert
