// Keeps LibTorch's operators on the thread that calls them.
#pragma once

namespace pixelbert {

// LibTorch's operators called by this thread run on it alone from now on: the cores belong to the model. Other threads
// keep their setting, unlike with at::set_num_threads, which is for the whole process. Call at::get_num_threads()
// before: LibTorch sets up a thread at its first operator, and would undo this then.
void use_single_thread();

}  // namespace pixelbert
