// Turns requests to stop into a flag that the training loop reads. It is global, because a signal handler can reach
// nothing else.
//
// Schedulers send SIGTERM and SIGUSR1; Ctrl-C is SIGINT. A second Ctrl-C ends the process at once. The program begins
// with all three blocked (apps/begin.c), so that no request is lost before there is a handler.
#pragma once

namespace pixelbert {

constexpr int kStoppedOnRequest = 75;  // exit code: run the same command again

void catch_stop_signals();    // for commands that end with kStoppedOnRequest
void unblock_stop_signals();  // for all commands; after catch_stop_signals(), so that waiting signals arrive
bool stop_signalled();

// Thrown after a request to stop, by work that has nothing to save.
struct StopRequested {};
void end_when_stop_signalled();

}  // namespace pixelbert
