// The end of a rank, and mpirun and its daemons on other hosts (orted), which started it.
#pragma once

namespace pixelbert::watch {

// Leaves a small process behind that ends this rank's launcher, should it still be there after `seconds`: mpirun waits
// for ever for a host that no longer answers. For a rank that is about to end; does nothing when the parent is no
// launcher.
void end_launcher_after(int seconds);

// Ends this process at once, and its launcher if that does not notice within ten seconds. Not by MPI, which may be what
// is stuck.
[[noreturn]] void end_rank(int exit_code);

}  // namespace pixelbert::watch
