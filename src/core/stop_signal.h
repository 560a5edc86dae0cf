// SIGTERM and SIGUSR1 become a flag that the training loop asks for; the only global of the program, because a signal
// handler can reach nothing else.
#pragma once

namespace pixelbert {

void catch_stop_signals();
bool stop_signalled();

}  // namespace pixelbert
