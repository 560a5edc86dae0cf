// Where every thread of this process is.
#pragma once

#include <string>
#include <vector>

namespace pixelbert::watch {

struct Stack {
  int thread_id = 0;                  // the kernel's
  std::string name{};                 // as top shows it
  std::vector<std::string> frames{};  // innermost first, "function (library+offset)"; empty: it did not answer
};

// Once per process, before stacks_of_all_threads(): takes a real-time signal for it.
void prepare_stacks();

// Interrupts the threads one after the other. One that blocks signals, or waits for a disk that does not answer, is
// given up on after a tenth of a second.
std::vector<Stack> stacks_of_all_threads();

}  // namespace pixelbert::watch
