// SIGTERM and SIGUSR1 become a flag that the training loop asks for: a global, because a signal handler can reach
// nothing else.
#pragma once

namespace pixelbert {

constexpr int kStoppedOnRequest = 75;  // exit code: run me again

void catch_stop_signals();
bool stop_signalled();

// For work that has nothing to save: thrown where it may end.
struct StopRequested {};
void end_when_stop_signalled();

}  // namespace pixelbert
