// mpirun and its daemons on other hosts (orted), which started this process.
#pragma once

namespace pixelbert::watch {

// Leaves a small process behind that ends this rank's launcher, should it still be there after `seconds`: mpirun waits
// for ever for a host that no longer answers. For a rank that is about to end; does nothing when the parent is no
// launcher.
void end_launcher_after(int seconds);

}  // namespace pixelbert::watch
