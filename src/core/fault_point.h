// Faults on request, so that tests can prove what happens when something goes wrong.
//
// PIXELBERT_FAULTS="throw@7/1,kill-in-save@12" makes fault_point("throw", 7, 1) true on rank 1 at step 7, and
// fault_point("kill-in-save", 12, r) true on every rank r; "throw@*/1" means every step. Without the variable every
// call is one test of a pointer.
#pragma once

#include <cstdint>
#include <string_view>

namespace pixelbert {

bool fault_point(std::string_view name, std::int64_t step, int rank);

// Sleeps for 200 ms where the fault is asked for.
void fault_sleep(std::string_view name, std::int64_t step, int rank);

}  // namespace pixelbert
