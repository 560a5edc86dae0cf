// Faults on request, so that tests can prove what happens when something goes wrong.
//
// PIXELBERT_FAULTS="throw@7/1,kill-in-save@12" makes wanted("throw", 7, 1) true on rank 1 at step 7, and
// wanted("kill-in-save", 12, r) true on every rank r; "throw@*/1" means every step. Without the variable every call is
// one test of a pointer.
#pragma once

#include <cstdint>
#include <string_view>

namespace pixelbert::faults {

// Kills the process at once if that is wanted, so that tests see what each moment leaves behind.
void kill_if_wanted(std::string_view name, std::int64_t step, int rank);

void hang_if_wanted(std::string_view name, std::int64_t step, int rank);

bool any();  // whether PIXELBERT_FAULTS is set
bool wanted(std::string_view name, std::int64_t step, int rank);

// Causes the faults that need only a moment, where threads report what they do (core/activity.h). `step` is the number
// of steps done before:
//   sleep-decode, hang-decode   when a loader thread begins a micro-batch of the next step
//   throw                       before the gradients of the next step are summed
//   sleep-reduce                while the ranks wait for each other in the next step
//   sleep-save                  when the checkpoint of `step` is about to be written
// A sleep takes 200 ms. Does nothing without the variable.
void act_out(int rank);

}  // namespace pixelbert::faults
