// Stacks of all threads of this process.
#pragma once

#include <string>
#include <vector>

namespace pixelbert::watch {

struct Stack {
  int thread_id = 0;                  // the kernel's
  std::string name{};                 // as top shows it
  std::vector<std::string> frames{};  // innermost first, "function (library+offset)"; empty: it did not answer
};

// Call once per process, before stacks_of_all_threads(). Uses a real-time signal.
void prepare_stacks();

// Interrupts the threads one after the other. Gives up after a tenth of a second on a thread that blocks signals or
// waits for a disk that does not answer.
std::vector<Stack> stacks_of_all_threads();

}  // namespace pixelbert::watch
