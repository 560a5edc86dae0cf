// Ends a rank and its launcher: mpirun, or its daemon on another host (orted).
#pragma once

namespace pixelbert::watch {

// Call in a rank that is about to end. Leaves a small process behind that ends this rank's launcher if it still runs
// after `seconds`: mpirun waits forever for a host that no longer answers. Does nothing if the parent is no launcher.
void end_launcher_after(int seconds);

// Ends this process at once, and its launcher if it does not notice within ten seconds. Does not use MPI, which may be
// stuck.
[[noreturn]] void end_rank(int exit_code);

}  // namespace pixelbert::watch
