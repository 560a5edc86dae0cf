// Keeps LibTorch's operators on the thread that calls them.
#pragma once

namespace pixelbert::data {

// LibTorch's operators called by this thread run on it alone from now on: the cores belong to the model. Other threads
// keep their setting, unlike with at::set_num_threads, which is for the whole process.
void use_single_thread();

}  // namespace pixelbert::data
